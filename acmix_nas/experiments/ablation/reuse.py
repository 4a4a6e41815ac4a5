"""Cells of other studies that need not be trained again: everything that decides a score is the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acmix_nas.arch import Arch
from acmix_nas.errors import StudyError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.tasks import load_task, pick_metric
from acmix_nas.train import Setting

VERSIONS = ("acmix_nas", "torch", "timm", "cuda", "device_name")
"""What of the environment a score depends on."""


@dataclass(frozen=True, slots=True)
class Source:
    """A study whose complete trials may be taken.

    Attributes:
        name: Of the study.
        records: Its complete trials that were trained themselves.
    """

    name: str
    records: tuple[TrialRecord, ...]


def open_source(header: StudyHeader, records: Sequence[TrialRecord], setting: Setting) -> Source:
    """A study as a source of cells.

    Raises:
        StudyError: It has no complete trial, or its trials were made otherwise; the message names what differs.
    """
    trained = tuple(item for item in records if item.status == "complete" and item.shared_with is None)
    if not trained:
        raise StudyError(f"--reuse {header.name}: it has no complete trial to take; leave it out.")
    for record in trained:
        different = _difference(record, setting)
        if different is not None:
            path, theirs, ours = different
            raise StudyError(
                f"--reuse {header.name}: trial {record.number} has {path} = {theirs}, this table has {ours}; results "
                "of the two cannot stand in one table. Leave it out, or train with the same options."
            )
    return Source(header.name, trained)


def stored_cell(source: Source, arch: Arch, seeds: Mapping[str, int]) -> TrialRecord | None:
    """The trial of a source that trained this network with these seeds."""
    found = (item for item in source.records if item.arch == arch and dict(item.seeds) == dict(seeds))
    return next(found, None)


def _difference(record: TrialRecord, setting: Setting) -> tuple[str, str, str] | None:
    """Where a record was made otherwise than the setting says: the field, its value there, its value here."""
    environment = {name: record.environment.get(name) for name in VERSIONS}
    theirs = {
        "task": record.task,
        "metric": record.metric,
        "split": record.split,
        "data": record.data,
        "budget": record.budget,
        "proxy": record.proxy,
        "environment": environment,
    }
    ours = {
        "task": setting.task,
        "metric": pick_metric(load_task(setting.task), setting.metric).name,
        "split": setting.split,
        "data": setting.splits.to_dict(),
        "budget": setting.budget.to_dict(),
        "proxy": setting.proxy.to_dict(),
        "environment": {name: setting.environment.get(name) for name in VERSIONS},
    }
    left, right = _flat("", theirs), _flat("", ours)
    return next(
        (
            (path, left.get(path, "nothing"), right.get(path, "nothing"))
            for path in [*left, *right]
            if left.get(path) != right.get(path)
        ),
        None,
    )


def _flat(path: str, value: Any) -> dict[str, str]:
    """JSON leaves by their path."""
    if isinstance(value, Mapping):
        inner = (_flat(f"{path}.{name}" if path else str(name), item) for name, item in value.items())
        return {name: leaf for part in inner for name, leaf in part.items()}
    return {path: json.dumps(value)}
