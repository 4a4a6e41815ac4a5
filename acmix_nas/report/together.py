"""Several studies as one: which may be shown together, and how their trials are distinguished."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from acmix_nas.errors import RecordError
from acmix_nas.metrics import TIMED
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.facts import check_comparable
from acmix_nas.report.pareto import complete
from acmix_nas.sizes import size_text

LONGEST = 120
"""Characters of a folder's name."""

Study = tuple[StudyHeader, Sequence[TrialRecord]]


def merge(studies: Sequence[Study]) -> tuple[StudyHeader, list[TrialRecord], dict[int, tuple[str, int]]]:
    """The trials of all studies, numbered through, under one header.

    In a search a trial's label becomes the name of its study; rows of an ablation become STUDY: ROW, and the baseline
    is that of the first study. Seeds stay, so rows of different studies are paired where their seeds are the same.

    Args:
        studies: Header and trials of each.

    Returns:
        Header, trials, and for each number the study and the number it has there.

    Raises:
        RecordError: They cannot be compared; the message says what differs.
    """
    headers = [header for header, _ in studies]
    first = headers[0]
    _check_same("kind", [(header.name, header.kind) for header in headers])
    _check_same("metric", [(header.name, header.metric.name) for header in headers])
    _check_same("split", [(header.name, header.split) for header in headers])
    sizes = [
        (header.name, size_text(record.cost.input_size)) for header, found in studies for record in complete(found)
    ]
    _check_same("input size of the costs", sizes)
    names = [header.name for header in headers]
    if twice := [name for name in names if names.count(name) > 1]:
        raise RecordError(f"two of the studies are named {twice[0]!r}; a study cannot be compared with itself.")
    timings = len({str(header.settings.get("latency_table")) for header in headers}) == 1  # of one table
    records: list[TrialRecord] = []
    origins: dict[int, tuple[str, int]] = {}
    for header, found in studies:
        numbers = {record.number: len(records) + index for index, record in enumerate(found)}
        for record in found:
            number = numbers[record.number]
            shared = None if record.shared_with is None else numbers.get(record.shared_with)
            name = header.name if header.kind == "search" else f"{header.name}: {record.label}"
            cost = record.cost if timings else replace(record.cost, latency_ms=None, throughput=None)
            records.append(replace(record, number=number, label=name, shared_with=shared, cost=cost))
            origins[number] = (header.name, record.number)
    merged = StudyHeader(
        name=" + ".join(names),
        kind=first.kind,
        space=", ".join(dict.fromkeys(header.space for header in headers)),
        host=", ".join(dict.fromkeys(header.host for header in headers)),
        split=first.split,
        metric=first.metric,
        objectives=first.objectives if timings else _counted(first),
        baseline=None if first.baseline is None else f"{first.name}: {first.baseline}",
        rows=tuple(f"{header.name}: {row}" for header in headers for row in header.rows),
        command=" ".join(["acmix report", *names]),
        version=first.version,
        settings={"latency_table": first.settings.get("latency_table")} if timings else {},
    )
    check_comparable(merged, records)
    return merged, records, origins


def folder_name(names: Sequence[str]) -> str:
    """A folder named after studies."""
    text = "+".join(Path(name).name for name in names)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}-{sha256(text.encode()).hexdigest()[:8]}"


def _counted(header: StudyHeader) -> tuple[str, ...]:
    """The objectives without those from a latency table; MACs where no other cost is left."""
    kept = tuple(name for name in header.objectives if name not in TIMED)
    return kept if len(kept) > 1 or kept == header.objectives else (header.metric.name, "macs")


def _check_same(what: str, values: Sequence[tuple[str, str]]) -> None:
    for name, value in values:
        if value != values[0][1]:
            raise RecordError(
                f"{values[0][0]} and {name} differ in {what}: {values[0][1]} and {value}; they cannot be in one "
                "report: render each separately."
            )
