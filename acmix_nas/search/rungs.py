"""Asynchronous successive halving (Li et al. 2020) for any number of objectives: who may go on, and is it fair."""

import math
import random
from collections.abc import Mapping, Sequence
from functools import cache
from heapq import heappop, heappush
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from acmix_nas.front import Point, hypervolume

Array: TypeAlias = NDArray[Any]

ETA = 3
"""One trial of this many continues from a rung."""
PROTECTED_SHARE = 0.1
"""Share of trials that are trained to the end whatever a rung says, so that the rung can be judged."""
LEAST_CORRELATION = 0.5
LEAST_JUDGED = 8
"""Protected trials before a rung is judged."""
ONE_SIDED_95 = 1.645
MARGIN = 0.1
"""The hypervolume's reference lies so far beyond the worst, as a share of the range."""


def rungs_of(epochs: int) -> tuple[int, ...]:
    """Epochs at which a trial may be stopped: about a ninth and a third of the budget."""
    return tuple(sorted({rung for rung in (round(epochs / ETA**2), round(epochs / ETA)) if 1 <= rung < epochs}))


@cache
def is_protected(seed: int, number: int) -> bool:
    """Whether a trial belongs to the tenth that is never pruned."""
    return random.Random(f"{seed}/{number}/protected").random() < PROTECTED_SHARE


def leaders(points: Mapping[int, Point]) -> list[int]:
    """The trials that go on from a rung: the best of every `ETA`, best first.

    They are ranked by what they could still add to the front: first the trials that nothing beats, then those that
    only these beat, and so on; among equals the best score, then the one that adds most hypervolume to those before it.
    With one objective this is the order of scores.

    Args:
        points: Number of the trial -> its objectives at the rung, the score first, more being better.
    """
    quota, chosen = len(points) // ETA, list[int]()
    if not quota:
        return chosen
    numbers = sorted(points)
    values = _scaled(np.array([points[number] for number in numbers], dtype=float))
    beats = _beats(values)
    worse_than = beats.sum(0)
    while len(chosen) < quota:
        layer = np.flatnonzero(worse_than == 0)
        chosen += [numbers[layer[index]] for index in _by_gain(values[layer], quota - len(chosen))]
        worse_than = worse_than - beats[layer].sum(0)
        worse_than[layer] = -1
    return chosen


def beaten_by(points: Mapping[int, Point]) -> dict[int, int]:
    """Number of each trial -> how many others beat it."""
    if not points:
        return {}
    return dict(zip(points, _beats(np.array(list(points.values()), dtype=float)).sum(0).tolist(), strict=True))


def lower_bound(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Lower 95 % bound of the rank correlation of (score at a rung, final score); None with too few pairs.

    Fisher's z of Spearman's coefficient, with the variance 1.06 / (n - 3) of Fieller, Hartley and Pearson (1957).
    """
    if len(pairs) < LEAST_JUDGED:
        return None
    from scipy.stats import rankdata  # takes seconds to load, and most studies judge no rung

    early, final = (rankdata(column) for column in zip(*pairs, strict=True))
    spread = early.std() * final.std()
    rho = float(((early - early.mean()) * (final - final.mean())).mean() / spread) if spread else 0.0
    z = math.atanh(min(max(rho, -0.999999), 0.999999))
    return math.tanh(z - ONE_SIDED_95 * math.sqrt(1.06 / (len(pairs) - 3)))


def _scaled(values: Array) -> Array:
    low, span = values.min(0), np.ptp(values, 0)
    scaled: Array = (values - low) / np.where(span > 0, span, 1)
    return scaled


def _beats(values: Array) -> Array:
    """(N, N) whether the row's point beats the column's."""
    no_worse = np.ones((len(values), len(values)), dtype=bool)
    for column in values.T:
        no_worse &= column[:, None] >= column
    beats: Array = no_worse & ~no_worse.T
    return beats


def _by_gain(values: Array, count: int) -> list[int]:
    """Indices of `count` of a layer: the best score, then greedily the one that adds most hypervolume.

    A gain only falls as others are chosen, so that an old one is an upper bound (Minoux 1978).
    """
    if values.shape[1] == 1:
        return list(range(len(values)))[:count]
    points: list[Point] = [tuple(map(float, row)) for row in values]
    order = [max(range(len(points)), key=lambda index: points[index])]
    volume = hypervolume([points[order[0]]], -MARGIN)
    bounds = [(-math.inf, index) for index in range(len(points)) if index not in order]
    while bounds and len(order) < count:
        _, index = heappop(bounds)
        gain = hypervolume([*(points[i] for i in order), points[index]], -MARGIN) - volume
        if bounds and (-gain, index) > bounds[0]:
            heappush(bounds, (-gain, index))
            continue
        order.append(index)
        volume += gain
    return order
