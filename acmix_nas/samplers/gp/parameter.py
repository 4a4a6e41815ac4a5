"""`Parameter`: one axis of a search, as levels."""

from collections.abc import Hashable
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

ALL_LEVELS = 32
"""With more levels than this an axis is sampled, not enumerated."""
DIGITS = 12
"""Decimals of a position on a continuous axis."""
STEPS = (0.02, 0.1, 0.3)
"""Standard deviations of moves along a sampled axis, as parts of its range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One axis.

    Attributes:
        name: Its name.
        size: Number of levels; None on a continuous axis.
        ordered: Whether near levels are alike.
        low: Value of the first level of an ordered axis.
        step: Distance of two levels.
        log: Whether distances are those of logarithms.
        kin: Parameters of the same kin have the same options and learn from one another.
    """

    name: str
    size: int | None
    ordered: bool = False
    low: float = 0.0
    step: float = 1.0
    log: bool = False
    kin: Hashable = None

    def units(self, levels: Array) -> Array:
        """Positions in [0, 1] of levels of an ordered axis."""
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
        """Random levels, even over [0, 1] on an ordered axis."""
        if self.size is None:
            return _rounded(rng.random(count))
        if self.log:
            return self._nearest(rng.random(count))
        return np.asarray(rng.integers(0, self.size, count), dtype=np.float64)

    def others(self, level: float, rng: np.random.Generator) -> Array:
        """The levels one edit away: all of them, or a sample of near and far ones on a long axis."""
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
    """Positions that are the same again after they were a parameter's value."""
    return np.asarray(np.round(units, DIGITS))
