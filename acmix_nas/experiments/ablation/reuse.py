"""Cells of other studies that need not be trained again: everything that decides a score is the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from acmix_nas.arch import Arch
from acmix_nas.errors import StudyError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.study.settings import differences
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
                f"--reuse {header.name}: trial {record.number} has {path} = {theirs or 'nothing'}, this table has "
                f"{ours or 'nothing'}; their results cannot be in one table. Leave it out, or train with the same "
                "options."
            )
    return Source(header.name, trained)


def stored_cell(source: Source, arch: Arch, seeds: Mapping[str, int]) -> TrialRecord | None:
    """The trial of a source that trained this network with these seeds."""
    found = (item for item in source.records if item.arch == arch and dict(item.seeds) == dict(seeds))
    return next(found, None)


def _difference(record: TrialRecord, setting: Setting) -> tuple[str, str | None, str | None] | None:
    """Where a record was made otherwise than the setting says: the field, its value there, its value here."""
    environment = {name: record.environment.get(name) for name in VERSIONS}
    theirs = {
        "split": record.split,
        "task": record.task,
        "metric": record.metric,
        "data": record.data,
        "budget": record.budget,
        "proxy": record.proxy,
        "environment": environment,
    }
    ours = {
        "split": setting.split,
        "task": setting.task,
        "metric": pick_metric(load_task(setting.task), setting.metric).name,
        "data": setting.splits.to_dict(),
        "budget": setting.budget.to_dict(),
        "proxy": setting.proxy.to_dict(),
        "environment": {name: setting.environment.get(name) for name in VERSIONS},
    }
    found = (difference for name, value in theirs.items() for difference in differences(name, value, ours[name]))
    return next(found, None)
