"""`Domain`: what rows there are, and which of their levels have an effect."""

from collections.abc import Callable, Sequence

import numpy as np

from acmix_nas.samplers.gp.parameter import Array, Mask, Parameter

ALL_WALKED = 1000
"""With more levels than this, and than twice those tried, an untried one is drawn, not looked up."""
COMPLETIONS = 4
"""Rows tried for an edit that makes other parameters active, each with other levels of those."""


class Domain:
    """A set of rows.

    Args:
        parameters: The axes; one that decides whether another is active comes before it.
        active: (C, D) full rows -> (C, D), which levels have an effect. Nothing where all always have.
        held: (D,) levels that all rows have, NaN where they are free. Nothing where all are free.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        active: Callable[[Array], Mask] | None = None,
        held: Array | None = None,
    ) -> None:
        self.parameters = tuple(parameters)
        self.held = np.full(len(self.parameters), np.nan) if held is None else held
        self._active = active

    def active(self, rows: Array) -> Mask:
        """Which levels of full rows have an effect."""
        if self._active is None:
            return np.ones(rows.shape, dtype=bool)
        return self._active(rows)

    def bare(self, rows: Array) -> Array:
        """The rows with NaN where a level has no effect."""
        return np.where(self.active(rows), rows, np.nan)

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Random full rows, (count, D)."""
        drawn = np.stack([parameter.draw(rng, count) for parameter in self.parameters], axis=1)
        return np.where(np.isnan(self.held), drawn, self.held)

    def filled(self, rows: Array, rng: np.random.Generator) -> Array:
        """The rows with random levels in place of NaN."""
        rows = np.where(np.isnan(self.held), rows, self.held)
        return np.where(np.isnan(rows), self.draw(rng, len(rows)), rows)

    def neighbours(self, rows: Array, rng: np.random.Generator) -> Array:
        """All full rows one edit of an active level away from these full rows."""
        found = [rows[:0]]
        for row, mask in zip(rows, self.active(rows), strict=True):
            for column in np.flatnonzero(mask & np.isnan(self.held)):
                levels = self.parameters[column].others(row[column], rng)
                edited = np.repeat(row[None], len(levels), axis=0)
                edited[:, column] = levels
                found.append(edited)
                found.extend(self._completions(edited, mask, rng))
        return np.concatenate(found)

    def mutants(self, rows: Array, rng: np.random.Generator, count: int) -> Array:
        """Full rows two or three edits away from these full rows."""
        mutants = rows[rng.integers(0, len(rows), count)]
        edited = rng.random(mutants.shape)
        edited[~self.active(mutants)] = 2.0
        edits = rng.integers(2, 4, count)
        among_first = edited.argsort(axis=1).argsort(axis=1) < edits[:, None]
        return np.where(among_first & (edited < 2.0), self.draw(rng, count), mutants)

    def _completions(self, edited: Array, mask: Mask, rng: np.random.Generator) -> list[Array]:
        if self._active is None:
            return []
        fresh = self.active(edited) & ~mask
        opened = fresh.any(axis=1)
        if not opened.any():
            return []
        again = np.repeat(edited[opened], COMPLETIONS - 1, axis=0)
        return [np.where(np.repeat(fresh[opened], COMPLETIONS - 1, axis=0), self.draw(rng, len(again)), again)]


def repeats(rows: Array, seen: Array) -> Mask:
    """Which full rows do what a seen bare row did: they agree on every level that had an effect there."""
    if not len(seen) or not len(rows):
        return np.zeros(len(rows), dtype=bool)
    absent = np.isnan(seen)
    return np.array([bool(((seen == row) | absent).all(axis=1).any()) for row in rows])


def unseen(domain: Domain, seen: Array, rng: np.random.Generator) -> Array | None:
    """A full row that repeats no seen bare row, or None if every row does.

    Walks the tree of what was seen: which parameter comes next is known from the rows that agree so far.
    """
    fixed = ~np.isnan(domain.held)
    agreeing = seen[((seen == domain.held) | np.isnan(seen) | ~fixed).all(axis=1)]
    return _walk(domain.parameters, agreeing, domain.draw(rng, 1)[0], fixed, rng)


def _walk(
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
        found = _walk(parameters, agreeing[agree], row, fixed, rng)
        if found is not None:
            return found
    return None


def _levels(parameter: Parameter, tried: Array, rng: np.random.Generator) -> list[float]:
    """Levels in random order, untried ones first; on a long axis a few untried ones, for there must be some."""
    known = set(tried[~np.isnan(tried)].tolist())
    if parameter.size is not None and parameter.size <= max(ALL_WALKED, 2 * len(known)):
        order: list[float] = rng.permutation(parameter.size).astype(np.float64).tolist()
        return sorted(order, key=lambda level: level in known)
    return [level for level in parameter.draw(rng, 2 * len(known) + 20).tolist() if level not in known]
