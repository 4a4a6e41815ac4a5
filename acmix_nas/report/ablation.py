"""The table of an ablation: one row for each variant, its seeds, the difference to the baseline, and the verdict."""

from collections.abc import Sequence

from acmix_nas.metrics import Metric
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.claims import Claims, Row, rows
from acmix_nas.report.escape import label
from acmix_nas.report.facts import caption, check_comparable
from acmix_nas.report.intervals import MIN_SEEDS, Difference
from acmix_nas.report.pareto import size_suffix
from acmix_nas.report.table import MINUS, NOTHING, Cell, Column, Table, cost_cells, cost_columns, numeric

SHARED = " †"
REUSED = " ‡"


def build(header: StudyHeader, records: Sequence[TrialRecord]) -> Table:
    """The ablation table.

    Raises:
        RecordError: Trials differ in split, data, proxy or budget, or a row holds two networks.
    """
    check_comparable(header, records)
    found = rows(header, records)
    claims = Claims.of(header, found)
    return Table(
        name=label(f"ablation-{header.space}"),
        title=f"Ablation {header.space} of {header.host}: {header.name}, {header.split} images",
        columns=_columns(header, found, claims),
        rows=tuple(_cells(header.metric, row, claims) for row in found),
        caption=caption(header, records),
        notes=tuple(_notes(header, found, claims)),
        arch_ids=tuple(row.trials[0].arch_id if row.trials else None for row in found),
    )


def _columns(header: StudyHeader, found: list[Row], claims: Claims) -> tuple[Column, ...]:
    metric, size = header.metric, size_suffix(record for row in found for record in row.trials)
    base = f" to {header.baseline} (95 %)" if header.baseline else ""
    return (
        Column(key="row", title="row", wrap=True),
        numeric("mean", f"mean {header.split} {metric.heading}", metric.heading),
        numeric("std", "std"),
        numeric("n", "n"),
        Column(key="difference", title=f"difference{base}", short="difference", numeric=True, wrap=True),
        Column(key="verdict", title="verdict", wrap=True, paper_width=0.15),
        numeric("p", "p (Holm)", usual=bool(claims.p)),
        *cost_columns(size),
        numeric("throughput", "throughput img/s", "img/s"),
        numeric("failed", "failed seeds", usual=False),
        Column(key="arch_id", title="arch id", usual=False),
    )


def _cells(metric: Metric, row: Row, claims: Claims) -> tuple[Cell, ...]:
    cost = row.trials[0].cost if row.trials else None
    mean, deviation, speed = row.mean, row.deviation, row.throughput
    gain, is_base = claims.gains.get(row.name), row.name == claims.baseline
    marks = (SHARED if row.shared else "") + (REUSED if row.reused else "")
    return (
        Cell(row.name + marks, row.name),
        NOTHING if mean is None else Cell(metric.text(mean), mean, bold=row.name in claims.best),
        NOTHING if deviation is None else Cell(metric.text(deviation), deviation),
        Cell(str(len(row.trials)), len(row.trials)),
        Cell("baseline") if is_base else _gain(metric, gain),
        Cell(text := claims.verdict(row), text),
        _p(claims, row, gain, is_base=is_base),
        *cost_cells(cost),
        NOTHING if speed is None else Cell(f"{speed:.0f}" if speed >= 100 else f"{speed:.1f}", speed),
        Cell(str(row.failed), row.failed),
        NOTHING if not row.trials else Cell(row.trials[0].arch_id, row.trials[0].arch_id),
    )


def _gain(metric: Metric, gain: Difference | None) -> Cell:
    if gain is None:
        return NOTHING
    text = metric.difference_text(gain.mean).replace("-", MINUS)
    width = "" if gain.half_width is None else f" ± {metric.text(gain.half_width)}"
    return Cell(text + width, gain.mean)


def _p(claims: Claims, row: Row, gain: Difference | None, *, is_base: bool) -> Cell:
    if row.name in claims.p:
        value = claims.p[row.name]
        return Cell(f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}", value)
    return NOTHING if is_base or gain is None or row.name not in claims.claimed else Cell(f"n >= {claims.needed}")


def _notes(header: StudyHeader, found: list[Row], claims: Claims) -> list[str]:
    metric = header.metric
    unit = f", in {metric.points} of {metric.title}" if metric.points else f" of {metric.title}"
    notes = [f"Mean and standard deviation (with n - 1) over n seeds{unit}."]
    if claims.gains:
        notes.append(
            f"Differences to {header.baseline} are paired by seed; their 95 % intervals are simultaneous (seed "
            f"effect removed, residual variance pooled, Dunnett). A verdict needs n >= {MIN_SEEDS}."
        )
        notes += claims.notes()
    notes += _sampling(header, found)
    batches = {record.environment.get("throughput_batch_size") for row in found for record in row.trials} - {None}
    if any(row.throughput for row in found) and len(batches) == 1:
        notes.append(f"img/s: the full network in its plain form, float32, batches of {batches.pop()}, median.")
    if any(row.shared for row in found):
        notes.append("† The proxy network equals that of another row: it is trained once and the score is shared.")
    reused = sorted({origin for row in found for origin in row.reused})
    if reused:
        notes.append(f"‡ Cells taken from {', '.join(reused)}, trained there with the same seeds and settings.")
    failed = [f"{row.name} ({row.failed})" for row in found if row.failed]
    if failed:
        notes.append(f"Failed seeds: {', '.join(failed)}. These rows get no verdict.")
    if not any(row.trials for row in found):
        notes.append("No trial is complete.")
    return notes + [str(note) for note in header.settings.get("notes", ())]


def _sampling(header: StudyHeader, found: list[Row]) -> list[str]:
    """The sampling error of the images, which more seeds do not lessen."""
    trials = [record for row in found for record in row.trials]
    counts = {dict(record.data.get("counts") or {}).get(header.split) for record in trials} - {None}
    if len(counts) != 1 or not header.metric.is_share:
        return []
    number, means = int(counts.pop() or 0), [row.mean for row in found if row.mean is not None]
    mean = sum(means) / len(means)
    error = header.metric.shown((mean * (1 - mean) / number) ** 0.5)
    return [
        f"An accuracy on {number:,} images has a sampling error of {error:.2f} points (standard error), which "
        "more seeds do not reduce; all rows read the same images."
    ]
