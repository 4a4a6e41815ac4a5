"""Trials as tables: the front of a search, and every trial of any study."""

from collections.abc import Sequence

from acmix_nas.metrics import COSTS, Metric
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.describe import LEGEND, arch_text, stage_texts, varying
from acmix_nas.report.escape import label
from acmix_nas.report.facts import caption, check_comparable
from acmix_nas.report.pareto import complete, front_of, score, size_suffix, timed, titles
from acmix_nas.report.sampling import sampling_error
from acmix_nas.report.table import NOTHING, Cell, Column, Table, cost_cells, cost_columns, numeric
from acmix_nas.sizes import size_text

REFERENCES = ("plain host", "paper")
"""Labels of the trials that a front is compared with."""


def front_table(header: StudyHeader, records: Sequence[TrialRecord]) -> Table:
    """The Pareto front of a search, then the plain host and the paper's network where they are not on it.

    Raises:
        RecordError: Trials differ in split, data or budget.
    """
    check_comparable(header, records)
    best = front_of(header, records)
    others = [record for record in complete(records) if record.label in REFERENCES and record not in best]
    shown = varying(record.arch for record in records)
    ranked = [(str(rank), record) for rank, record in enumerate(best, start=1)]
    ids, timings = [record.arch_id for record in (*best, *others)], timed(header, complete(records))
    return Table(
        name=label(header.name),
        title=f"Pareto front of {header.name}: {header.space} of {header.host}, {header.split} images",
        columns=_front_columns(header, records),
        rows=tuple(
            _front_cells(header.metric, rank, record, shown, timings)
            for rank, record in [*ranked, *(("-", item) for item in others)]
        ),
        caption=caption(header, records),
        notes=tuple(_notes(header, records, best)),
        arch_ids=tuple(ids),
    )


def trial_table(header: StudyHeader, records: Sequence[TrialRecord]) -> Table:
    """Every trial in a row, complete or failed, for CSV and for the page."""
    depth = max((len(record.arch.stages) for record in records), default=0)
    costs = ("params", "macs", "macs_deploy", *timed(header, records), "input_size")
    names = ("number", "status", "label", "arch_id", header.metric.name, *costs, "epochs")
    rest = ("images", "seeds", "seconds", "shared_with", "error")
    stages = tuple(f"stage{i}" for i in range(1, depth + 1))
    numeric = {"number", header.metric.name, *costs, "epochs", "images", "seconds"}
    return Table(
        name="trials",
        title=f"Trials of {header.name}",
        columns=tuple(Column(key=name, title=name, numeric=name in numeric) for name in (*names, *rest, *stages)),
        rows=tuple(_trial_cells(record, depth, costs) for record in records),
    )


def split_title(header: StudyHeader, records: Sequence[TrialRecord]) -> str:
    """Name of the score: on which images, and of how many trials the best was chosen."""
    name = f"{header.split} {header.metric.title}"
    if header.split != "search":
        return name
    bias = "upward" if header.metric.better == "higher" else "downward"
    return f"{name} (biased {bias}: chosen as best of {len(complete(records))})"


def saved_epochs(records: Sequence[TrialRecord]) -> tuple[int, int]:
    """(epochs that pruned trials were not trained, epochs of all trials had none been pruned)."""
    ended = [record for record in records if record.status in ("complete", "pruned") and record.shared_with is None]
    whole = sum(int(record.budget["epochs"]) for record in ended)
    return whole - sum(len(record.scores) for record in ended), whole


def pruning_text(records: Sequence[TrialRecord]) -> list[str]:
    """A line on what pruning saved; none where nothing was pruned."""
    pruned = sum(record.status == "pruned" for record in records)
    if not pruned:
        return []
    saved, whole = saved_epochs(records)
    return [f"{pruned} of {len(records)} trials were pruned: {saved} of {whole} epochs ({saved / whole:.0%}) saved"]


def _front_columns(header: StudyHeader, records: Sequence[TrialRecord]) -> tuple[Column, ...]:
    metric, size = header.metric, size_suffix(complete(records))
    points = metric.of_differences("sampling error")
    return (
        numeric("rank", "rank"),
        Column(key="label", title="label"),
        Column(key="arch", title="network by stage", wrap=True, paper_width=0.2),
        numeric(metric.name, metric.of_values(split_title(header, records)), metric.heading),
        *([numeric("sampling_error", points, "± s.e.")] if metric.is_share else []),
        *(numeric(name, COSTS[name].heading) for name in timed(header, complete(records))),
        *cost_columns(size),
        numeric("number", "trial"),
        Column(key="arch_id", title="arch id", wrap=True, printed=False),
    )


def _front_cells(
    metric: Metric, rank: str, record: TrialRecord, shown: frozenset[str], timings: Sequence[str]
) -> tuple[Cell, ...]:
    cost, shared = record.cost, "" if record.shared_with is None else f" (score of {record.shared_with})"
    return (
        Cell(rank, rank),
        Cell(record.label, record.label),
        Cell(text := arch_text(record.arch, shown), text),
        Cell(metric.rounded_text(score(record)), score(record)),
        *([_error_cell(metric, record)] if metric.is_share else []),
        *(Cell(COSTS[name].text(value := getattr(cost, name)), value) for name in timings),
        *cost_cells(cost),
        Cell(f"{record.number}{shared}", record.number),
        Cell(record.arch_id, record.arch_id),
    )


def _error_cell(metric: Metric, record: TrialRecord) -> Cell:
    error = sampling_error(metric, record)
    return NOTHING if error is None else Cell(f"{error:.1f}", round(error, 4))


def _notes(header: StudyHeader, records: Sequence[TrialRecord], best: Sequence[TrialRecord]) -> list[str]:
    done = len(complete(records))
    notes = [f"{done} of {len(records)} trials complete; {len(best)} on the front of {titles(header)}."]
    if not done:
        notes.append("No trial is complete, so there is no front.")
    if done and header.split == "search":
        notes.append(f"{split_title(header, records)}: train again with fresh seeds before comparing.")
    if any(record.shared_with is not None for record in best):
        notes.append("Trials with the same proxy network share one score.")
    return [*notes, LEGEND] if best else notes


def _trial_cells(record: TrialRecord, depth: int, names: Sequence[str]) -> tuple[Cell, ...]:
    budget = record.budget
    seeds = " ".join(f"{name}={value}" for name, value in record.seeds.items())
    stages = stage_texts(record.arch)
    values = (record.number, record.status, record.label, record.arch_id, record.score)
    costs = (size_text(value) if isinstance(value := getattr(record.cost, name), tuple) else value for name in names)
    rest = (budget.get("epochs"), budget.get("images"), seeds, record.seconds, record.shared_with, record.error)
    return tuple(_cell(value) for value in (*values, *costs, *rest, *stages, *[None] * (depth - len(stages))))


def _cell(value: str | int | float | None) -> Cell:
    return NOTHING if value is None else Cell(str(value), value)
