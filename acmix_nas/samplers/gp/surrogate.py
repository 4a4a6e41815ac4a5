"""Surrogates of objectives and constraints: computed where an exact function is given, else modelled.

Measured values become the targets of a Gaussian process: normal scores of objectives, signed logarithms of constraints.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from acmix_nas.samplers.gp.gaussian_process import Hyper, Posterior, fit
from acmix_nas.samplers.gp.kernel import Features
from acmix_nas.samplers.gp.problem import Problem, Quantity
from acmix_nas.samplers.gp.search_space import Array, Indices, Mask

MODELLED, FITTED = 300, 200
"""Rows of a model, and rows that its hyperparameters are fitted to, at most: half the best ones, half the latest."""
REFIT, REFIT_LATE, LATE = 5, 20, 100
"""Hyperparameters are fitted anew after every REFIT rows, from LATE rows on after every REFIT_LATE."""
RIDGE = 1e-3


class ExactObjective:
    """An objective with an exact function.

    Attributes:
        values: (N,) its values at the rows tried.
        measured: (N,) all True.
    """

    def __init__(self, problem: Problem, quantity: Quantity, points: Array) -> None:
        assert quantity.exact
        self._exact = quantity.exact
        self.values = quantity.known_values(problem.rows)
        self.measured = np.ones(len(self.values), dtype=bool)
        self._guess = linear(points, self.values)

    def at(self, bare: Array, points: Array, *, guess: bool) -> tuple[Array, Array]:
        """(C,) values, and deviations of almost zero."""
        values = self._guess(points) if guess else self._exact(bare)
        return values, np.full(len(bare), 1e-9)

    def draws(self, bare: Array, points: Array, normal: Array, *, guess: bool) -> Array:
        """(C, S) each value S times."""
        return np.repeat(self.at(bare, points, guess=guess)[0][:, None], len(normal), axis=1)

    def smoothed(self, rows: Indices, *, raw: bool) -> Array:
        """The values of these rows."""
        return np.asarray(self.values[rows])


class ModelledObjective:
    """A measured objective: a Gaussian process over the normal scores of its values.

    Attributes:
        values: (N,) mean measured values, NaN where there are none.
        measured: (N,) where there are some.
    """

    def __init__(self, problem: Problem, quantity: Quantity, features: Features, points: Array) -> None:
        self.values = quantity.values
        self.measured: Mask = ~np.isnan(self.values)
        self._points = points
        rows: Indices = np.flatnonzero(self.measured)
        targets = np.full(len(self.values), np.nan)
        targets[rows] = normal_scores(self.values[rows])
        self._raw, self._targets = self.values[rows], targets[rows]
        first = selected(rows[: _fit_size(len(rows))], self.values, FITTED)
        hyper = fitted(problem, features, points[first], normal_scores(self.values[first]), problem.counts[first])
        rows = selected(rows, self.values, MODELLED)
        self._posterior = with_running(hyper, problem, points, rows, targets[rows])

    def at(self, bare: Array, points: Array, *, guess: bool) -> tuple[Array, Array]:
        """(C,) means and standard deviations of the scores."""
        return self._posterior.at(points)

    def draws(self, bare: Array, points: Array, normal: Array, *, guess: bool) -> Array:
        """(C, S) values at the standard normal quantiles (S,) of the posterior."""
        mean, deviation = self._posterior.at(points)
        return raw_values(mean[:, None] + deviation[:, None] * normal, self._raw, self._targets)

    def smoothed(self, rows: Indices, *, raw: bool) -> Array:
        """Posterior means at these rows: values if `raw`, else scores."""
        mean = self._posterior.at(self._points[rows])[0]
        return raw_values(mean, self._raw, self._targets) if raw else mean


class Constraint:
    """A constraint, which holds where it is at most 0.

    Attributes:
        violation: (N,) its values at the rows tried; -inf where there are none.
    """

    def __init__(self, problem: Problem, quantity: Quantity, features: Features, points: Array) -> None:
        values = quantity.known_values(problem.rows)
        self._posterior: Posterior | None = None
        self._exact = quantity.exact
        self.violation = np.where(np.isnan(values), -np.inf, values)
        rows = np.flatnonzero(~np.isnan(values))
        if quantity.exact:
            self._guess = linear(points, values)
        elif len(rows) > 1:
            self._model(problem, features, points, selected(rows, -np.abs(values), MODELLED), values)

    def log_probability(self, bare: Array, points: Array, *, guess: bool) -> Array:
        """(C,) log probability that it holds; where an exact function breaks it, far below others, by the excess."""
        if self._exact:
            excess = np.maximum(self._guess(points) if guess else self._exact(bare), 0.0)
            return np.where(excess > 0.0, -1e6 - 1e6 * excess / (1.0 + excess), 0.0)
        if self._posterior is None:
            return np.zeros(len(bare))
        return log_probability_below(*self._posterior.at(points), self._limit)

    def _model(self, problem: Problem, features: Features, points: Array, rows: Indices, values: Array) -> None:
        targets = limit_targets(values[rows])
        self._limit = -float(targets.mean())
        targets = targets - targets.mean()
        first = slice(0, min(_fit_size(len(rows)), FITTED))
        hyper = fitted(problem, features, points[rows[first]], targets[first], problem.counts[rows[first]])
        self._posterior = with_running(hyper, problem, points, rows, targets)


def log_probability_below(mean: Array, deviation: Array, limit: float) -> Array:
    """Log P(f <= limit), f ~ N(mean, deviation^2)."""
    return np.asarray(np.log(np.maximum(ndtr((limit - mean) / deviation), 1e-300)))


def selected(rows: Indices, values: Array, most: int) -> Indices:
    """At most `most` of these rows, in their order: half those of the largest values, half the latest."""
    if len(rows) <= most:
        return rows
    latest = rows[-(most // 2) :]
    earlier = rows[: -(most // 2)]
    best = earlier[np.argsort(-values[earlier], kind="stable")[: most - most // 2]]
    return np.concatenate([np.sort(best), latest])


def fitted(problem: Problem, features: Features, points: Array, targets: Array, counts: Array) -> Hyper:
    """Hyperparameters, computed once for the same measurements."""
    key = points.tobytes() + targets.tobytes() + counts.tobytes()
    if key not in problem.fits:
        problem.fits[key] = fit(features, points, targets, counts)
    return problem.fits[key]


def with_running(hyper: Hyper, problem: Problem, points: Array, rows: Indices, targets: Array) -> Posterior:
    """The posterior given the measured rows, with running ones at their expected values (Ginsbourger 2010)."""
    known = Posterior(hyper, points[rows], targets, problem.counts[rows])
    running = np.setdiff1d(np.flatnonzero(problem.running), rows)
    if not len(running):
        return known
    expected = known.at(points[running])[0]
    both = np.concatenate([rows, running])
    return Posterior(hyper, points[both], np.concatenate([targets, expected]), problem.counts[both])


def normal_scores(values: Array) -> Array:
    """Quantiles of the standard normal at the values' ranks; equal values share the mean of their ranks.

    A model of ranks is not misled by a few networks that fail to train.
    """
    from scipy.stats import rankdata  # takes seconds to load

    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)))


def raw_values(scores: Array, values: Array, targets: Array) -> Array:
    """The inverse of `normal_scores`, linear between measured values and beyond them.

    Args:
        scores: Normal scores, of any shape.
        values: (N,) measured values.
        targets: (N,) their normal scores.
    """
    targets, first = np.unique(targets, return_index=True)
    values = values[first]
    if len(values) < 2:
        return np.full(scores.shape, values[0])
    low, high = (len(values) - 1) // 2, len(values) // 2
    up = (values[-1] - values[low]) / (targets[-1] - targets[low])
    down = (values[high] - values[0]) / (targets[high] - targets[0])
    inside = np.interp(scores, targets, values)
    above, below = np.maximum(scores - targets[-1], 0.0), np.minimum(scores - targets[0], 0.0)
    return np.asarray(inside + up * above + down * below)


def limit_targets(values: Array) -> Array:
    """Constraint values as signed logarithms with a root mean square of 1; what is at most 0 stays so."""
    scale = float(np.median(np.abs(values))) or 1.0
    compressed = np.sign(values) * np.log1p(np.abs(values) / scale)
    return np.asarray(compressed / (float(np.sqrt((compressed**2).mean())) or 1.0))


def linear(points: Array, values: Array) -> Callable[[Array], Array]:
    """Ridge regression on features: a guess at an exact function without calling it."""
    mean = values.mean()
    gram = points.T @ points + RIDGE * np.eye(points.shape[1])
    slope = np.linalg.solve(gram, points.T @ (values - mean))
    return lambda other: np.asarray(mean + other @ slope)


def _fit_size(measured: int) -> int:
    """Number of the first measured rows that hyperparameters are fitted to."""
    every = REFIT if measured < LATE else REFIT_LATE
    return max(measured - measured % every, min(measured, REFIT))
