"""`Parameter`: one parameter of a search, as levels."""

from collections.abc import Hashable
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

ALL_LEVELS = 32
"""A parameter with more levels than this is sampled, not enumerated."""
DIGITS = 12
"""Decimals of the position of a continuous parameter."""
STEPS = (0.02, 0.1, 0.3)
"""Standard deviations of moves along a sampled parameter, as fractions of its range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter.

    Attributes:
        name: Its name.
        size: Number of levels; None if it is continuous.
        ordered: Whether near levels are alike.
        low: Value of the first level, if it is ordered.
        step: Difference between neighbouring levels.
        log: Whether distances are those of the logarithms.
        group: Parameters of one group have the same options and share a prior.
    """

    name: str
    size: int | None
    ordered: bool = False
    low: float = 0.0
    step: float = 1.0
    log: bool = False
    group: Hashable = None

    def units(self, levels: Array) -> Array:
        """Positions in [0, 1] of levels of an ordered parameter."""
        if self.size is None:
            return levels
        last = self.size - 1
        if last == 0:
            return np.zeros_like(levels)
        if not self.log:
            return levels / last
        span = log((self.low + self.step * last) / self.low)
        return np.asarray(np.log((self.low + self.step * levels) / self.low) / span)

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Random levels, uniform over [0, 1] if it is ordered."""
        if self.size is None:
            return _rounded(rng.random(count))
        if self.log:
            return self._nearest(rng.random(count))
        return np.asarray(rng.integers(0, self.size, count), dtype=np.float64)

    def others(self, level: float, rng: np.random.Generator) -> Array:
        """The levels one edit away: all of them, or of many levels a sample of near and far ones."""
        if self.size is not None and self.size <= ALL_LEVELS:
            levels = np.arange(self.size, dtype=np.float64)
            return np.asarray(levels[levels != level])
        near = self._near(level, rng) if self.ordered else np.empty(0)
        levels = np.unique(np.concatenate([near, self.draw(rng, 4 if self.ordered else ALL_LEVELS)]))
        return np.asarray(levels[levels != level])

    def _near(self, level: float, rng: np.random.Generator) -> Array:
        unit = float(self.units(np.array([level]))[0])
        moved = np.clip(unit + rng.standard_normal(2 * len(STEPS)) * np.repeat(STEPS, 2), 0.0, 1.0)
        if self.size is None:
            return _rounded(moved)
        beside = np.clip([level - 1.0, level + 1.0], 0, self.size - 1)
        return np.concatenate([beside, self._nearest(moved)])

    def _nearest(self, units: Array) -> Array:
        assert self.size is not None
        last = self.size - 1
        if not self.log or last == 0:
            return np.asarray(np.rint(units * last))
        span = log((self.low + self.step * last) / self.low)
        return np.asarray(np.clip(np.rint((self.low * np.exp(units * span) - self.low) / self.step), 0, last))


def _rounded(units: Array) -> Array:
    """Positions that survive the way to a parameter's value and back."""
    return np.asarray(np.round(units, DIGITS))
