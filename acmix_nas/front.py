"""What a study optimises, and which of its trials no other beats in that."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import TypeAlias

from acmix_nas.metrics import COSTS, Metric
from acmix_nas.record import Cost, TrialRecord

Point: TypeAlias = tuple[float, ...]
"""Values of the objectives, each turned so that more is better."""
SLICED = 3
"""Objectives up to which slices are the faster way to a volume."""


def values_of(objectives: Sequence[Metric], score: float | None, cost: Cost) -> list[float]:
    """The values of the objectives, as the storage has them; 0 where there is none."""
    return [float((getattr(cost, item.name) if item.name in COSTS else score) or 0.0) for item in objectives]


def point(objectives: Sequence[Metric], score: float, cost: Cost) -> Point:
    """The values of the objectives, more of each being better."""
    return tuple(item.gain(value) for item, value in zip(objectives, values_of(objectives, score, cost), strict=True))


def beats(one: Point, other: Point) -> bool:
    """Whether `one` is no worse in anything and better in something."""
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def front(records: Iterable[TrialRecord], objectives: Sequence[Metric]) -> list[TrialRecord]:
    """The complete trials that no other beats, best score first; of equal ones the first.

    So a shared score counts twice only where the second network is better than the one that was trained in something
    else.

    Args:
        records: Trials of one study.
        objectives: Its metric, and costs.
    """
    scored = [(point(objectives, record.score, record.cost), record) for record in records if record.score is not None]
    # Whatever beats a trial is larger in the first value that differs: it stands before it.
    scored.sort(key=lambda item: (tuple(-value for value in item[0]), item[1].number))
    kept: list[tuple[Point, TrialRecord]] = []
    for at, record in scored:
        if not any(other == at or beats(other, at) for other, _ in kept):
            kept.append((at, record))
    metric = next(item for item in objectives if item.name not in COSTS)
    return sorted((record for _, record in kept), key=lambda record: (-metric.gain(record.score or 0.0), record.number))


def hypervolume(points: Sequence[Point], corner: float = 0.0) -> float:
    """Volume between points and the corner with all coordinates equal, by slices along the last axis.

    Optuna computes the same, in a module of its own use (optuna._hypervolume); SciPy and torch do not.

    Args:
        points: None below the corner in anything; those that others beat change nothing.
        corner: Every coordinate of the corner.
    """
    falling = sorted(points, key=lambda point: -point[-1])
    if not falling:
        return 0.0
    if len(falling[0]) == 1:
        return falling[0][0] - corner
    volume, area, widest = 0.0, 0.0, corner
    for index, at in enumerate(falling):
        below = falling[index + 1][-1] if index + 1 < len(falling) else corner
        if len(at) == 2:
            widest = max(widest, at[0])
            area = widest - corner
        elif at[-1] > below:
            area = hypervolume([point[:-1] for point in falling[: index + 1]], corner)
        volume += (at[-1] - below) * area
    return volume


def added_hypervolume(at: Point, others: Sequence[Point]) -> float:
    """Volume from 0 to a point that no other spans: its box less the others, cut to it (While et al. 2012)."""
    cut = _unbeaten([tuple(map(min, at, other)) for other in others])
    if len(at) <= SLICED:
        return prod(at) - hypervolume(cut)
    return prod(at) - sum(added_hypervolume(one, cut[index + 1 :]) for index, one in enumerate(cut))


def _unbeaten(points: Sequence[Point]) -> list[Point]:
    kept: list[Point] = []
    for at in sorted(set(points), reverse=True):  # what beats a point stands before it
        if not any(beats(other, at) for other in kept):
            kept.append(at)
    return kept
