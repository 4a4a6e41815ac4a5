"""Scores of each class: a table, and bars, of a study whose task has them."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.claims import rows
from acmix_nas.report.pareto import complete, front_of
from acmix_nas.report.table import NOTHING, Cell, Column, Table, numeric

TITLES = {"iou": "IoU"}
"""Name of a score by class -> what it is called."""
MOST_NETWORKS = 4
"""Networks of a front that are shown."""


class ClassScores(NamedTuple):
    """A score of each class for some networks.

    Attributes:
        score: Its name.
        classes: Names of the classes.
        values: Name of a network -> the mean over its seeds for each class, in [0, 1]; None where no training has one.
        seeds: Name of a network -> how many trainings that is the mean of.
    """

    score: str
    classes: tuple[str, ...]
    values: dict[str, tuple[float | None, ...]]
    seeds: dict[str, int]

    @property
    def title(self) -> str:
        """What people call the score."""
        return TITLES.get(self.score, self.score)


def class_scores(header: StudyHeader, records: Sequence[TrialRecord]) -> ClassScores | None:
    """The scores by class of an ablation's rows, or of the best of a search's front; None where there are none."""
    scored = [record for record in complete(records) if record.head is not None and record.by_class]
    if not scored:
        return None
    named = networks_shown(header, records, "by_class")
    head = scored[0].head
    assert head is not None
    score, classes = next(iter(scored[0].by_class)), tuple(head["classes"])
    values = {
        name: tuple(_mean([record.by_class[score][place] for record in group]) for place in range(len(classes)))
        for name, group in named.items()
    }
    return ClassScores(score, classes, values, {name: len(group) for name, group in named.items()})


def networks_shown(header: StudyHeader, records: Sequence[TrialRecord], needed: str) -> dict[str, list[TrialRecord]]:
    """The networks that are shown one by one: an ablation's rows, or the best of a search's front; name -> trainings.

    Args:
        header: What holds for all trials.
        records: The trials.
        needed: Field that a record must have to be shown.
    """
    if header.kind == "search":
        best = [record for record in front_of(header, records) if getattr(record, needed)][:MOST_NETWORKS]
        return {f"trial {record.number}, {record.label}": [record] for record in best}
    shown = {row.name: [record for record in row.trials if getattr(record, needed)] for row in rows(header, records)}
    return {name: group for name, group in shown.items() if group}


def class_table(header: StudyHeader, records: Sequence[TrialRecord]) -> Table | None:
    """A row for each class, a column for each network; None where there are no scores by class."""
    found = class_scores(header, records)
    if found is None or not found.values:
        return None
    columns = [numeric(f"network_{place}", name) for place, name in enumerate(found.values)]
    lines = []
    for place, name in enumerate(found.classes):
        values = [of[place] for of in found.values.values()]
        best = max((value for value in values if value is not None), default=None)
        cells = [
            NOTHING
            if value is None
            else Cell(f"{100 * value:.1f}", 100 * value, bold=value == best and len(values) > 1)
            for value in values
        ]
        lines.append((Cell(name, name), *cells))
    several = max(found.seeds.values()) > 1
    return Table(
        name="classes",
        title=f"{found.title} of each class, %, {header.split} images",
        columns=(Column(key="class", title="class"), *columns),
        rows=tuple(lines),
        notes=(
            f"{'Mean over seeds after' if several else 'After'} the last epoch; a dash where neither the truth nor a "
            "prediction has the class. The mean over classes leaves those out.",
        ),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
