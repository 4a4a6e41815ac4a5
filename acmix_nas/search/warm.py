"""Warm starts: what a study of a smaller, larger or edited space has trained is brought over, not trained again."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from acmix_nas.errors import SpaceError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.samplers.make import encode
from acmix_nas.search.objectives import Prices, broken
from acmix_nas.space import Space
from acmix_nas.study.settings import differences
from acmix_nas.study.study import Study
from acmix_nas.train import Setting

NAMES_ONLY = ("name", "inert")
"""Fields of a proxy that change nothing of what is trained."""
IN_BUDGET = ("epochs", "images", "batch_size", "learning_rate")
"""Fields of a proxy that the budget has too, as they were."""


@dataclass(slots=True)
class Brought:
    """What came of a warm start.

    Attributes:
        study: Name of the other study.
        count: Number of records brought over.
        left: Why -> how many were left.
    """

    study: str
    count: int = 0
    left: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        left = "; ".join(f"{count} left: {reason}" for reason, count in self.left.items())
        return f"{self.count} trials of {self.study} are copied{'; ' + left if left else ''}"


def bring_over(
    study: Study, space: Space, setting: Setting, prices: Prices, *, header: StudyHeader, records: list[TrialRecord]
) -> Brought:
    """Adds every compatible record of another study as a finished trial.

    Args:
        study: The new study.
        space: Its space.
        setting: How it trains: a record must have been trained on the same images, proxy, budget and split.
        prices: Costs in the new study.
        header: Header of the other study.
        records: Its records.
    """
    brought = Brought(header.name)
    limits = study.header.settings.get("limits", {})
    there = {record.arch_id for record in study.records()}
    for record in records:
        reason = _reason_against(record, space, setting, study.header)
        if reason is None and broken(limits, prices(record.arch)):
            reason = "beyond the limits"
        if reason is None and record.arch_id in there:
            reason = "already there"
        if reason:
            brought.left[reason] += 1
            continue
        there.add(record.arch_id)
        origin = f"{header.name}:{record.number}"
        found = replace(record, cost=prices(record.arch), shared_with=None, origin=origin)
        study.bring(*encode(space, space.values(record.arch)), found)
        brought.count += 1
    return brought


def _reason_against(record: TrialRecord, space: Space, setting: Setting, header: StudyHeader) -> str | None:
    """Why a score cannot stand beside those of the new study."""
    if record.status != "complete":
        return record.status
    if record.split != setting.split:
        return f"scored on {record.split} images"
    if (record.task, record.metric) != (setting.task, header.metric.name):
        return f"scored by {record.metric} of {record.task}"
    here = setting.splits.like(record.data.get("fingerprint")).to_dict()
    pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        ("data", _data(record.data), _data(here)),
        ("proxy", _proxy(record.proxy), _proxy(setting.proxy.to_dict())),
        ("budget", record.budget, setting.budget.to_dict()),
        ("head", record.head or {}, setting.head_facts or {}),
    ]
    for name, then, now in pairs:
        for path, old, new in differences(name, then, now):
            return f"{path} is {old} there and {new} here"
    try:
        space.values(record.arch)
    except SpaceError:
        return f"not in {space.name}"
    return None


def _data(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"fingerprint": facts.get("fingerprint"), "seed": facts.get("seed")}


def _proxy(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in NAMES_ONLY + IN_BUDGET}
