"""The conditions under which parameters are active, learnt from trials: a decision tree for each parameter.

A define-by-run study does not declare which parameters depend on which. An objective that suggests the same parameters
whenever the earlier ones agree is a decision tree, and greedy splits find it from few trials (Breiman 1984).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acmix_nas.samplers.gp.search_space import Array, Indices, Mask, Parameter

THRESHOLDS = 16
"""Split points of an ordered parameter, at most."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Full rows (C, D) -> (C, D), which parameters are expected to be active.

    Attributes:
        trees: For each parameter its tree, or whether it is always or never active.
    """

    trees: tuple["_Split | bool", ...]

    @classmethod
    def learn(cls, parameters: Sequence[Parameter], bare: Array) -> "Conditions":
        """The conditions that bare rows (N, D) show; a parameter comes after those that decide on it."""
        present = ~np.isnan(bare)
        tests = _tests(parameters, bare)
        answers = np.stack([test.of(bare) for test in tests], axis=1) if tests else np.zeros((len(bare), 0), dtype=bool)
        grown: dict[bytes, _Split | bool] = {}
        trees: list[_Split | bool] = []
        for column in range(len(parameters)):
            wanted = present[:, column]
            pattern = wanted.tobytes()
            if pattern not in grown:
                earlier = np.array([test.column < column for test in tests], dtype=bool)
                grown[pattern] = _grow(tests, answers, earlier, wanted, np.arange(len(bare)))
            trees.append(grown[pattern])
        return cls(tuple(trees))

    def __call__(self, full: Array) -> Mask:
        """(C, D) which parameters of full rows are expected to be active."""
        bare = full.copy()
        for column, tree in enumerate(self.trees):
            bare[~_follow(tree, bare), column] = np.nan
        return ~np.isnan(bare)


@dataclass(frozen=True, slots=True)
class _Test:
    """A question on one parameter: is it at this level, at most at this level, or, for None, inactive?"""

    column: int
    level: float | None
    ordered: bool

    def of(self, bare: Array) -> Mask:
        levels = bare[:, self.column]
        if self.level is None:
            return np.isnan(levels)
        return np.asarray(levels <= self.level if self.ordered else levels == self.level)


@dataclass(frozen=True, slots=True)
class _Split:
    test: _Test
    yes: "_Split | bool"
    no: "_Split | bool"


def _tests(parameters: Sequence[Parameter], bare: Array) -> list[_Test]:
    tests: list[_Test] = []
    for column, parameter in enumerate(parameters):
        levels = bare[:, column]
        absent = np.isnan(levels)
        known = np.unique(levels[~absent])
        if parameter.ordered:
            known = known[:-1]
            if len(known) > THRESHOLDS:
                known = known[np.linspace(0, len(known) - 1, THRESHOLDS).astype(int)]
        tests.extend(_Test(column, float(level), parameter.ordered) for level in known)
        if absent.any():
            tests.append(_Test(column, None, parameter.ordered))
    return tests


def _grow(tests: list[_Test], answers: Mask, allowed: Mask, wanted: Mask, rows: Indices) -> "_Split | bool":
    """The tree that predicts in which of the rows the parameter is active; a leaf is the more frequent answer."""
    here = wanted[rows]
    share = float(here.mean()) if len(here) else 1.0
    if share in (0.0, 1.0):
        return share == 1.0
    split = answers[rows]
    size = split.sum(axis=0)
    hits = split[here].sum(axis=0)
    total, all_hits = len(rows), int(here.sum())
    impurity = _impurity(hits, size) + _impurity(all_hits - hits, total - size)
    impurity[~allowed | (size == 0) | (size == total)] = np.inf
    if not len(impurity) or impurity.min() == np.inf:
        return share >= 0.5
    best = int(np.argmin(impurity))
    yes = answers[rows, best]
    return _Split(
        tests[best],
        _grow(tests, answers, allowed, wanted, rows[yes]),
        _grow(tests, answers, allowed, wanted, rows[~yes]),
    )


def _impurity(hits: Array, size: Array) -> Array:
    return np.asarray(hits * (size - hits) / np.maximum(size, 1), dtype=np.float64)


def _follow(tree: "_Split | bool", bare: Array) -> Mask:
    if isinstance(tree, bool):
        return np.full(len(bare), tree)
    answer = tree.test.of(bare)
    return np.where(answer, _follow(tree.yes, bare), _follow(tree.no, bare))
