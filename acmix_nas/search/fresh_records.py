"""Which stored trainings of finalists are fresh scores of their study, and why others are not."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from acmix_nas.record import TrialRecord

SPLIT = "report"


class FreshRecords(NamedTuple):
    """Stored trainings of finalists, sorted.

    Attributes:
        kept: Those that were made as the study says; complete, paused and failed ones.
        refused: The others, each with the reason.
    """

    kept: tuple[TrialRecord, ...]
    refused: tuple[tuple[TrialRecord, str], ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each record that is left out."""
        return tuple(
            f"Left out: {record.label or record.arch_id}, seed {record.seeds.get('init')}: {reason}."
            for record, reason in self.refused
        )


def sort_fresh(records: Sequence[TrialRecord], settings: Mapping[str, Any], *, seed: int | None = None) -> FreshRecords:
    """Keeps apart what may not be averaged: another split, data, proxy or budget, a seed that is not fresh.

    Of two complete trainings of one network with one seed the first is kept.

    Args:
        records: What finals.jsonl holds, in its order.
        settings: Of the search: "data" (the fingerprint), "budget" and "proxy"; what is missing is not compared.
        seed: Seed of the search.
    """
    kept: list[TrialRecord] = []
    refused = []
    done: set[Hashable] = set()
    for record in records:
        cell = (record.arch_id, record.seeds.get("init"))
        reason = _difference(record, settings, seed)
        if reason is None and record.status == "complete" and cell in done:
            reason = "the same network was trained with this seed before"
        if reason is None:
            kept.append(record)
            done |= {cell} if record.status == "complete" else set()
        else:
            refused.append((record, reason))
    return FreshRecords(tuple(kept), tuple(refused))


def _difference(record: TrialRecord, settings: Mapping[str, Any], search_seed: int | None) -> str | None:
    """Why a record is no fresh score of the study; None if it is one."""
    if record.split != SPLIT:
        return f"it was scored on {record.split} images, not on {SPLIT} images"
    seed = record.seeds.get("init")
    if seed is None or seed == search_seed:
        return f"its seed is {'missing' if seed is None else 'that of the search'}, which is not a fresh one"
    if "data" in settings and record.data.get("fingerprint") != settings["data"]:
        return f"its data fingerprint is {record.data.get('fingerprint')}, the study's is {settings['data']}"
    for name, theirs in (("budget", record.budget), ("proxy", record.proxy)):
        ours = settings.get(name)
        if isinstance(ours, Mapping):
            reason = _first_difference(name, theirs, ours)
            if reason is not None:
                return reason
    return None


def _first_difference(name: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str | None:
    different = [key for key in sorted({*theirs, *ours}) if _plain(theirs.get(key)) != _plain(ours.get(key))]
    if not different:
        return None
    key = different[0]
    return f"its {name} has {key} = {theirs.get(key)}, the study's {ours.get(key)}"


def _plain(value: Any) -> Any:
    """The value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
