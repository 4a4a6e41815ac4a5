"""What measuring a row would be worth, given all that was measured."""

from typing import TYPE_CHECKING

import numpy as np

from acmix_nas.samplers.gp.acquisition import (
    hypervolume_improvement,
    log_expected_improvement,
    normal_draws,
    pareto,
)
from acmix_nas.samplers.gp.kernel import Features
from acmix_nas.samplers.gp.parameter import Array, Indices
from acmix_nas.samplers.gp.surrogate import Known, Limit, Modelled
from acmix_nas.samplers.gp.transforms import normal_scores

if TYPE_CHECKING:
    from acmix_nas.samplers.gp.propose import Task

DRAWS = 8
"""Posterior draws that a hypervolume improvement is the mean of."""
EXACT = 128
"""At most so many rows at once have their exact objectives computed; which, a linear guess at them decides."""
CONTENDERS = 64
"""Of the best measured rows so many are asked of the model for the best value or the front."""
MARGIN = 0.1
"""How far beyond the worst measured value the reference point of hypervolumes lies, as a part of the range."""


class Worth:
    """Full rows (C, D) -> (C,) what measuring them would be worth, in logarithms; -inf for those passed over.

    One objective: expected improvement over the best. Several: hypervolume improvement, the mean over draws. Either is
    multiplied by the probability that all constraints are kept; while no measured row keeps them, that alone counts.

    Args:
        task: What is known.
        rng: For draws.
    """

    def __init__(self, task: "Task", rng: np.random.Generator) -> None:
        self._task, self._rng = task, rng
        self._features = Features.of(task.domain.parameters, np.asarray(np.isnan(task.rows).any(axis=0)))
        self._points = self._features.encode(task.rows)
        self._limits = [Limit(task, quantity, self._features, self._points) for quantity in task.constraints]
        self._objectives: list[Known | Modelled] = [
            Known(task, quantity, self._points)
            if quantity.exact
            else Modelled(task, quantity, self._features, self._points)
            for quantity in task.objectives
        ]
        self._computed = any(one.exact for one in (*task.objectives, *task.constraints))
        measured = np.all([objective.measured for objective in self._objectives], axis=0)
        kept = np.all([measured, *(limit.violation <= 0.0 for limit in self._limits)], axis=0)
        self._feasible = bool(kept.any())
        self._measured: Indices = np.flatnonzero(kept if self._feasible else measured)
        self._draws = normal_draws(rng, DRAWS, len(self._objectives))
        self._rank()
        if self._feasible:
            self._prepare()

    def parents(self, count: int) -> Indices:
        """Indices of measured rows to look around: the best, or the front, up to twice as many, and those near it."""
        order = self._ranking
        return order[: max(count, min(2 * count, self._on_front))] if self._feasible else order[:count]

    def __call__(self, full: Array) -> Array:
        """What measuring full rows would be worth."""
        bare = self._task.domain.bare(full)
        points = self._features.encode(bare)
        if not self._computed:
            return self._worth(bare, points, guess=False)
        guess = self._worth(bare, points, guess=True)
        chosen = np.sort(np.argsort(-guess, kind="stable")[:EXACT])
        worth = np.full(len(full), -np.inf)
        worth[chosen] = self._worth(bare[chosen], points[chosen], guess=False)
        return worth

    def _worth(self, bare: Array, points: Array, *, guess: bool) -> Array:
        worth = sum((limit.log_kept(bare, points, guess=guess) for limit in self._limits), np.zeros(len(bare)))
        if not self._feasible:
            return worth
        if len(self._objectives) == 1:
            mean, deviation = self._objectives[0].at(bare, points, guess=guess)
            return worth + log_expected_improvement(mean, deviation, self._best)
        draws = [
            objective.draws(bare, points, normal, guess=guess)
            for objective, normal in zip(self._objectives, self._draws.T, strict=True)
        ]
        improvement = self._improvement(np.stack(draws, axis=2)).reshape(len(bare), DRAWS).mean(axis=1)
        return np.asarray(worth + np.log(np.maximum(improvement, 1e-300)))

    def _rank(self) -> None:
        """Orders the measured rows, the best first: the front in random order, then by the sum of scores."""
        rows = self._measured
        self._on_front = 0
        if not self._feasible:
            excess = np.sum([np.maximum(limit.violation[rows], 0.0) for limit in self._limits], axis=0)
            self._ranking: Indices = rows[np.argsort(excess, kind="stable")]
            return
        values = np.stack([objective.values[rows] for objective in self._objectives], axis=1)
        scores = np.sum([normal_scores(column) for column in values.T], axis=0)
        front = pareto(values) if values.shape[1] > 1 else np.zeros(len(values), dtype=bool)
        self._on_front = int(front.sum())
        self._low, self._span = values.min(axis=0), np.maximum(np.ptp(values, axis=0), 1e-12)
        self._ranking = rows[np.lexsort([self._rng.random(len(front)) * front, -np.where(front, 0.0, scores), ~front])]

    def _prepare(self) -> None:
        """The best so far: a value, or a front in units of the range of what was measured; noise is smoothed away."""
        rows = self._ranking[: max(CONTENDERS, self._on_front)]
        if len(self._objectives) == 1:
            self._best = float(self._objectives[0].smoothed(rows, raw=False).max())
            return
        front = np.stack([objective.smoothed(rows, raw=True) for objective in self._objectives], axis=1)
        front = (front - self._low) / self._span
        self._front = front[pareto(front)]

    def _improvement(self, values: Array) -> Array:
        flat = (values.reshape(-1, values.shape[2]) - self._low) / self._span
        reference = np.full(values.shape[2], -MARGIN)
        return hypervolume_improvement(flat, self._front, reference, self._rng)
