"""How far a search had come after each trial: the hypervolume of its front from one stored reference point."""

from collections.abc import Mapping, Sequence
from typing import Any

from acmix_nas.front import Point, added_hypervolume, beats, values_of
from acmix_nas.metrics import COSTS
from acmix_nas.record import StudyHeader, TrialRecord

REFERENCE = "reference"
"""Setting of a study: objective -> its value at the reference point."""


def course(header: StudyHeader, records: Sequence[TrialRecord]) -> tuple[float, ...]:
    """The hypervolume after each ended trial, by number, as a share of the box from reference to ideal.

    The ideal is the best score at no cost, so that a trial of a share p spans p (1 - cost / reference) of the box.
    Images a second are taken by the time an image needs. What lies beyond the reference spans nothing.

    Args:
        header: Its settings have the reference point; without one nothing is told.
        records: The trials that ended, in any order.

    Returns:
        Shares in [0, 1] that never fall; empty without a reference, a complete trial, or a best possible score.
    """
    reference = header.settings.get(REFERENCE) or {}
    if header.kind != "search" or not set(header.objectives) <= set(reference):
        return ()
    if header.metric.best is None or not any(record.score is not None for record in records):
        return ()
    front: list[Point] = []
    volume, found = 0.0, []
    for record in sorted(records, key=lambda record: record.number):
        if record.score is not None:
            volume += _add(front, _place(record, header, reference))
        found.append(min(volume, 1.0))
    return tuple(found)


def _place(record: TrialRecord, header: StudyHeader, reference: Mapping[str, Any]) -> Point:
    """A trial between the reference (0) and the ideal (1), in each objective."""
    place = []
    values = values_of(header.measures, record.score, record.cost)
    for name, value in zip(header.objectives, values, strict=True):
        limit, best = float(reference[name]), header.metric.best
        if name not in COSTS:
            share = (value - limit) / (best - limit) if best is not None and best != limit else 0.0
        else:
            less, more = (value, limit) if COSTS[name].better == "lower" else (limit, value)
            share = 1 - less / more if more else 0.0
        place.append(max(0.0, share))
    return tuple(place)


def _add(front: list[Point], at: Point) -> float:
    """Puts a point into the front; returns the volume that it alone spans."""
    if any(other == at or beats(other, at) for other in front):
        return 0.0
    gain = added_hypervolume(at, front)
    front[:] = [other for other in front if not beats(at, other)] + [at]
    return gain
