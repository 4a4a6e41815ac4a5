"""How far a search had come after each trial: the hypervolume of its front from one stored reference point."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from acmix_nas.front import Point, beats, hypervolume
from acmix_nas.metrics import COSTS
from acmix_nas.record import StudyHeader, TrialRecord

REFERENCE = "reference"
"""Setting of a study: objective -> its value at the reference point."""
SLICED = 3
"""Objectives up to which slices are the faster way to a volume."""


def course(header: StudyHeader, records: Sequence[TrialRecord]) -> tuple[float, ...]:
    """The hypervolume after each ended trial, by number, as a share of the box from reference to ideal.

    The ideal is top-1 1 at no cost, so that a trial spans top1 (1 - cost / reference) of the box. Images a second are
    taken by the time an image needs. What lies beyond the reference spans nothing.

    Args:
        header: Its settings have the reference point; without one nothing is told.
        records: The trials that ended, in any order.

    Returns:
        Shares in [0, 1] that never fall; empty without a reference or a complete trial.
    """
    reference = header.settings.get(REFERENCE) or {}
    if header.kind != "search" or not set(header.objectives) <= set(reference):
        return ()
    if not any(record.top1 is not None for record in records):
        return ()
    front: list[Point] = []
    volume, found = 0.0, []
    for record in sorted(records, key=lambda record: record.number):
        if record.top1 is not None:
            volume += _add(front, _place(record, header.objectives, reference))
        found.append(min(volume, 1.0))
    return tuple(found)


def _place(record: TrialRecord, objectives: Sequence[str], reference: Mapping[str, Any]) -> Point:
    """A trial between the reference (0) and the ideal (1), in each objective."""
    place = []
    for name in objectives:
        limit = float(reference[name])
        value = float((record.top1 if name == "top1" else getattr(record.cost, name)) or 0.0)
        if name == "top1":
            share = (value - limit) / (1 - limit)
        else:
            less, more = (value, limit) if COSTS[name].better == "lower" else (limit, value)
            share = 1 - less / more if more else 0.0
        place.append(max(0.0, share))
    return tuple(place)


def _add(front: list[Point], at: Point) -> float:
    """Puts a point into the front; returns the volume that it alone spans."""
    if any(other == at or beats(other, at) for other in front):
        return 0.0
    gain = _alone(at, front)
    front[:] = [other for other in front if not beats(at, other)] + [at]
    return gain


def _alone(at: Point, others: Sequence[Point]) -> float:
    """The box of a point less what others have of it: their points cut to the box (While, Bradstreet, Barone 2012)."""
    cut = _unbeaten([tuple(map(min, at, other)) for other in others])
    if len(at) <= SLICED:
        return prod(at) - hypervolume(cut)
    return prod(at) - sum(_alone(one, cut[index + 1 :]) for index, one in enumerate(cut))


def _unbeaten(points: Sequence[Point]) -> list[Point]:
    kept: list[Point] = []
    for at in sorted(set(points), reverse=True):  # what beats a point stands before it
        if not any(beats(other, at) for other in kept):
            kept.append(at)
    return kept
