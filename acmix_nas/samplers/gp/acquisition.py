"""Acquisition values: expected improvement, or expected hypervolume improvement, times the probability of feasibility.

Larger is better throughout.
"""

from math import log, pi, sqrt

import numpy as np
from scipy.special import ndtr, ndtri

from acmix_nas.samplers.gp.kernel import Features
from acmix_nas.samplers.gp.problem import Problem
from acmix_nas.samplers.gp.search_space import Array, Indices, Mask
from acmix_nas.samplers.gp.surrogate import Constraint, ExactObjective, ModelledObjective, normal_scores

DRAWS = 8
"""Posterior draws that a hypervolume improvement is the mean of."""
EXACT = 128
"""Rows at most, of one call, whose exact objectives are computed; a linear guess at them selects the rows."""
CONTENDERS = 64
"""Best measured rows whose noise the model smooths away to find the best value or the front."""
MARGIN = 0.1
"""Distance of the hypervolume's reference point below the worst measured value, as a fraction of the range."""
BOX_SAMPLES = 1000
"""Points that estimate a hypervolume of three or more objectives."""
CHUNK = 4_000_000
"""Comparisons held in memory at once, at most."""


class Acquisition:
    """Acquisition values of full rows: (C, D) -> (C,), in logarithms; -inf for rows that are passed over.

    One objective: expected improvement over the best. Several: hypervolume improvement, the mean over posterior draws.
    Either is multiplied by the probability that all constraints hold. While no measured row satisfies them, that
    probability alone counts.

    Args:
        problem: What is known.
        rng: Orders the posterior draws and the front.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self._problem, self._rng = problem, rng
        self._features = Features.of(problem.search_space.parameters, np.asarray(np.isnan(problem.rows).any(axis=0)))
        self._points = self._features.encode(problem.rows)
        self._constraints = [Constraint(problem, one, self._features, self._points) for one in problem.constraints]
        self._objectives: list[ExactObjective | ModelledObjective] = [
            ExactObjective(problem, one, self._points)
            if one.exact
            else ModelledObjective(problem, one, self._features, self._points)
            for one in problem.objectives
        ]
        self._has_exact = any(one.exact for one in (*problem.objectives, *problem.constraints))
        measured = np.all([objective.measured for objective in self._objectives], axis=0)
        feasible = np.all([measured, *(one.violation <= 0.0 for one in self._constraints)], axis=0)
        self._has_feasible = bool(feasible.any())
        self._measured: Indices = np.flatnonzero(feasible if self._has_feasible else measured)
        self._draws = normal_draws(rng, DRAWS, len(self._objectives))
        self._rank()
        if self._has_feasible:
            self._find_best()

    def parents(self, count: int) -> Indices:
        """Indices of the measured rows to look around: the best; of several objectives the front, at most 2 count."""
        order = self._ranking
        return order[: max(count, min(2 * count, self._on_front))] if self._has_feasible else order[:count]

    def __call__(self, full: Array) -> Array:
        """Acquisition values of full rows."""
        bare = self._problem.search_space.bare(full)
        points = self._features.encode(bare)
        if not self._has_exact:
            return self._values(bare, points, guess=False)
        guess = self._values(bare, points, guess=True)
        chosen = np.sort(np.argsort(-guess, kind="stable")[:EXACT])
        values = np.full(len(full), -np.inf)
        values[chosen] = self._values(bare[chosen], points[chosen], guess=False)
        return values

    def _values(self, bare: Array, points: Array, *, guess: bool) -> Array:
        total = sum((one.log_probability(bare, points, guess=guess) for one in self._constraints), np.zeros(len(bare)))
        if not self._has_feasible:
            return total
        if len(self._objectives) == 1:
            mean, deviation = self._objectives[0].at(bare, points, guess=guess)
            return total + log_expected_improvement(mean, deviation, self._best)
        draws = [
            objective.draws(bare, points, normal, guess=guess)
            for objective, normal in zip(self._objectives, self._draws.T, strict=True)
        ]
        values = (np.stack(draws, axis=2).reshape(-1, len(draws)) - self._low) / self._span
        improvement = hypervolume_improvement(values, self._front, np.full(len(draws), -MARGIN), self._rng)
        mean = improvement.reshape(len(bare), DRAWS).mean(axis=1)
        return np.asarray(total + np.log(np.maximum(mean, 1e-300)))

    def _rank(self) -> None:
        """Orders the measured rows, the best first: the front in random order, then by the sum of scores."""
        rows = self._measured
        self._on_front = 0
        if not self._has_feasible:
            excess = np.sum([np.maximum(one.violation[rows], 0.0) for one in self._constraints], axis=0)
            self._ranking: Indices = rows[np.argsort(excess, kind="stable")]
            return
        values = np.stack([objective.values[rows] for objective in self._objectives], axis=1)
        scores = np.sum([normal_scores(column) for column in values.T], axis=0)
        front = pareto(values) if values.shape[1] > 1 else np.zeros(len(values), dtype=bool)
        self._on_front = int(front.sum())
        self._low, self._span = values.min(axis=0), np.maximum(np.ptp(values, axis=0), 1e-12)
        self._ranking = rows[np.lexsort([self._rng.random(len(front)) * front, -np.where(front, 0.0, scores), ~front])]

    def _find_best(self) -> None:
        """Sets the best value, or the front in units of the measured range; the model smooths the noise away."""
        rows = self._ranking[: max(CONTENDERS, self._on_front)]
        if len(self._objectives) == 1:
            self._best = float(self._objectives[0].smoothed(rows, raw=False).max())
            return
        front = np.stack([objective.smoothed(rows, raw=True) for objective in self._objectives], axis=1)
        front = (front - self._low) / self._span
        self._front = front[pareto(front)]


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Log E[max(f - best, 0)], f ~ N(mean, deviation^2): log of s (phi(z) + z Phi(z)), z = (mean - best) / s.

    Mockus 1978. In logarithms (Ament 2023), since far from the best it is too small for a float.
    """
    z = (mean - best) / deviation
    density = np.exp(-0.5 * z**2) / sqrt(2.0 * pi)
    near = np.maximum(density + z * ndtr(z), 1e-300)
    inverse = np.minimum(z, -6.0) ** -2.0
    series = 1.0 - inverse * (3.0 - inverse * (15.0 - inverse * (105.0 - inverse * 945.0)))  # of z^2 (1 + z Phi / phi)
    far = -0.5 * z**2 - 0.5 * log(2.0 * pi) + np.log(inverse * series)
    return np.asarray(np.log(deviation) + np.where(z < -6.0, far, np.log(near)))


def normal_draws(rng: np.random.Generator, draws: int, columns: int) -> Array:
    """(draws, columns) evenly spread quantiles of the standard normal, each column in its own random order."""
    quantiles = ndtri((np.arange(draws) + 0.5) / draws)
    return np.stack([rng.permutation(quantiles) for _ in range(columns)], axis=1)


def pareto(values: Array) -> Mask:
    """(N,) which of the points (N, K) no other dominates; equal points are all kept."""
    dominated = np.zeros(len(values), dtype=bool)
    for value in values:
        dominated |= (values <= value).all(axis=1) & (values < value).any(axis=1)
    return ~dominated


def hypervolume_improvement(points: Array, front: Array, reference: Array, rng: np.random.Generator) -> Array:
    """(C,) by how much each point (C, K) alone would enlarge the volume that the front (N, K) dominates.

    Exact for two objectives; for more, estimated by random points, the same ones for all.
    """
    if points.shape[1] == 2:
        return _improvement_of_two(points, front, reference)
    upper = np.maximum(points.max(axis=0), reference)
    samples = reference + (upper - reference) * rng.random((BOX_SAMPLES, len(reference)))
    for point in front:
        samples = samples[~(samples <= point).all(axis=1)]
    chunk = max(1, CHUNK // max(1, samples.size))
    pieces = [points[start : start + chunk] for start in range(0, len(points), chunk)]
    hits = [_dominates(piece, samples).sum(axis=1) for piece in pieces]
    return np.concatenate(hits) * (float(np.prod(upper - reference)) / BOX_SAMPLES)


def _improvement_of_two(points: Array, front: Array, reference: Array) -> Array:
    """A sum over strips of the first objective: between two points of the front its height is constant."""
    front = front[(front > reference).all(axis=1)]
    front = front[pareto(front)]
    front = front[np.argsort(-front[:, 0])]
    upper = np.concatenate([[np.inf], front[:, 0]])
    lower = np.concatenate([front[:, 0], reference[:1]])
    height = np.concatenate([reference[1:], front[:, 1]])
    width = np.maximum(np.minimum(points[:, :1], upper) - lower, 0.0)
    return np.asarray((width * np.maximum(points[:, 1:] - height, 0.0)).sum(axis=1))


def _dominates(points: Array, samples: Array) -> Mask:
    """(C, S) whether a point is at least a sample in every objective."""
    inside = np.ones((len(points), len(samples)), dtype=bool)
    for column in range(points.shape[1]):
        inside &= samples[:, column] <= points[:, column, None]
    return inside
