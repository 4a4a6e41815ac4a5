"""`Parameter` and `SearchSpace`: one column of rows as levels; all rows, and which of their parameters are active."""

from collections.abc import Callable, Hashable, Sequence
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
MAX_LISTED = 1000
"""An untried level is found in a list of all; of more levels than this, and than twice those tried, it is drawn."""
COMPLETIONS = 4
"""Neighbours made of one edit that makes other parameters active, each with other levels of those."""


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


class SearchSpace:
    """The set of all rows.

    Args:
        parameters: The columns; one that decides whether another is active comes before it.
        active: Full rows (C, D) -> (C, D), which parameters are active; None if all always are.
        fixed: (D,) levels that all rows have, NaN where they are free; None if all are.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        active: Callable[[Array], Mask] | None = None,
        fixed: Array | None = None,
    ) -> None:
        self.parameters = tuple(parameters)
        self.fixed = np.full(len(self.parameters), np.nan) if fixed is None else fixed
        self._active = active

    def active(self, rows: Array) -> Mask:
        """(C, D) which parameters of full rows are active."""
        if self._active is None:
            return np.ones(rows.shape, dtype=bool)
        return self._active(rows)

    def bare(self, rows: Array) -> Array:
        """The rows with NaN where a parameter is inactive."""
        return np.where(self.active(rows), rows, np.nan)

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Random full rows, (count, D)."""
        drawn = np.stack([parameter.draw(rng, count) for parameter in self.parameters], axis=1)
        return np.where(np.isnan(self.fixed), drawn, self.fixed)

    def filled(self, rows: Array, rng: np.random.Generator) -> Array:
        """The rows with random levels in place of NaN."""
        rows = np.where(np.isnan(self.fixed), rows, self.fixed)
        return np.where(np.isnan(rows), self.draw(rng, len(rows)), rows)

    def neighbours(self, rows: Array, rng: np.random.Generator) -> Array:
        """All full rows that differ from one of these full rows in one active level."""
        found = [rows[:0]]
        for row, mask in zip(rows, self.active(rows), strict=True):
            for column in np.flatnonzero(mask & np.isnan(self.fixed)):
                levels = self.parameters[column].others(row[column], rng)
                edited = np.repeat(row[None], len(levels), axis=0)
                edited[:, column] = levels
                found.append(edited)
                found.extend(self._completions(edited, mask, rng))
        return np.concatenate(found)

    def mutants(self, rows: Array, rng: np.random.Generator, count: int) -> Array:
        """`count` full rows that differ from one of these full rows in two or three active levels."""
        mutants = rows[rng.integers(0, len(rows), count)]
        edited = rng.random(mutants.shape)
        edited[~self.active(mutants)] = 2.0
        edits = rng.integers(2, 4, count)
        among_first = edited.argsort(axis=1).argsort(axis=1) < edits[:, None]
        return np.where(among_first & (edited < 2.0), self.draw(rng, count), mutants)

    def _completions(self, edited: Array, mask: Mask, rng: np.random.Generator) -> list[Array]:
        """The edited rows with other levels of the parameters that the edit makes active."""
        if self._active is None:
            return []
        opened = self.active(edited) & ~mask
        rows = opened.any(axis=1)
        if not rows.any():
            return []
        copies = np.repeat(edited[rows], COMPLETIONS - 1, axis=0)
        return [np.where(np.repeat(opened[rows], COMPLETIONS - 1, axis=0), self.draw(rng, len(copies)), copies)]


def repeats(rows: Array, seen: Array) -> Mask:
    """(C,) which full rows repeat a seen bare row: they agree on every level that was active there."""
    if not len(seen) or not len(rows):
        return np.zeros(len(rows), dtype=bool)
    absent = np.isnan(seen)
    return np.array([bool(((seen == row) | absent).all(axis=1).any()) for row in rows])


def find_unseen(search_space: SearchSpace, seen: Array, rng: np.random.Generator) -> Array | None:
    """A full row that repeats no seen bare row; None if every row does.

    Searches the tree of the seen rows: the rows that agree so far say which parameter comes next.
    """
    fixed = ~np.isnan(search_space.fixed)
    agreeing = seen[((seen == search_space.fixed) | np.isnan(seen) | ~fixed).all(axis=1)]
    return _search_tree(search_space.parameters, agreeing, search_space.draw(rng, 1)[0], fixed, rng)


def _search_tree(
    parameters: Sequence[Parameter], agreeing: Array, row: Array, fixed: Mask, rng: np.random.Generator
) -> Array | None:
    if not len(agreeing):
        return row
    open_ = ~np.isnan(agreeing) & ~fixed
    if not open_.any(axis=1).all():
        return None
    shared = open_.all(axis=0)
    column = int(np.argmax(shared if shared.any() else open_.any(axis=0)))
    fixed = fixed.copy()
    fixed[column] = True
    for level in _levels(parameters[column], agreeing[:, column], rng):
        row = row.copy()
        row[column] = level
        agree = (agreeing[:, column] == level) | np.isnan(agreeing[:, column])
        found = _search_tree(parameters, agreeing[agree], row, fixed, rng)
        if found is not None:
            return found
    return None


def _levels(parameter: Parameter, tried: Array, rng: np.random.Generator) -> list[float]:
    """Levels in random order, untried ones first; of a parameter with many levels a few untried ones."""
    known = set(tried[~np.isnan(tried)].tolist())
    if parameter.size is not None and parameter.size <= max(MAX_LISTED, 2 * len(known)):
        order: list[float] = rng.permutation(parameter.size).astype(np.float64).tolist()
        return sorted(order, key=lambda level: level in known)
    return [level for level in parameter.draw(rng, 2 * len(known) + 20).tolist() if level not in known]


def _rounded(units: Array) -> Array:
    """Positions that survive the way to a parameter's value and back."""
    return np.asarray(np.round(units, DIGITS))
