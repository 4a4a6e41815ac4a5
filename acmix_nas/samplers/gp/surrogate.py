"""One quantity of a search, as far as it is known: computed where a function is given, else modelled."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from acmix_nas.samplers.gp.acquisition import log_probability_below
from acmix_nas.samplers.gp.gaussian_process import Hyper, Posterior, fit
from acmix_nas.samplers.gp.kernel import Features
from acmix_nas.samplers.gp.parameter import Array, Indices, Mask
from acmix_nas.samplers.gp.transforms import limit_targets, normal_scores, raw_values

if TYPE_CHECKING:
    from acmix_nas.samplers.gp.propose import Quantity, Task

MODELLED, FITTED = 300, 200
"""Rows that a model sees at most, and that its hyperparameters are fitted to: half the best ones, half the latest."""
REFIT, REFIT_LATE, LATE = 5, 20, 100
"""Hyperparameters are those of the first rows, as many as divide by REFIT, or by REFIT_LATE from LATE rows on."""
RIDGE = 1e-3


class Known:
    """An objective that is computed.

    Attributes:
        values: (N,) its values at the rows tried.
        measured: (N,) all True.
    """

    def __init__(self, task: "Task", quantity: "Quantity", points: Array) -> None:
        assert quantity.exact
        self._exact = quantity.exact
        self.values = exact_values(task, quantity)
        self.measured = np.ones(len(self.values), dtype=bool)
        self._guess = linear(points, self.values)

    def at(self, bare: Array, points: Array, *, guess: bool) -> tuple[Array, Array]:
        """Value, and a deviation of almost zero."""
        values = self._guess(points) if guess else self._exact(bare)
        return values, np.full(len(bare), 1e-9)

    def draws(self, bare: Array, points: Array, normal: Array, *, guess: bool) -> Array:
        """(C, S) the value S times."""
        return np.repeat(self.at(bare, points, guess=guess)[0][:, None], len(normal), axis=1)

    def smoothed(self, rows: Indices, *, raw: bool) -> Array:
        """The values of these rows."""
        return np.asarray(self.values[rows])


class Modelled:
    """An objective that is measured: a Gaussian process over the normal scores of its values.

    Attributes:
        values: (N,) mean measured values, NaN where there are none.
        measured: (N,) where there are.
    """

    def __init__(self, task: "Task", quantity: "Quantity", features: Features, points: Array) -> None:
        self.values = quantity.values
        self.measured: Mask = ~np.isnan(self.values)
        self._points = points
        rows: Indices = np.flatnonzero(self.measured)
        targets = np.full(len(self.values), np.nan)
        targets[rows] = normal_scores(self.values[rows])
        self._raw, self._targets = self.values[rows], targets[rows]
        first = selected(rows[: _fitted(len(rows))], self.values, FITTED)
        hyper = fitted(task, features, points[first], normal_scores(self.values[first]), task.counts[first])
        rows = selected(rows, self.values, MODELLED)
        self._posterior = with_running(hyper, task, points, rows, targets[rows])

    def at(self, bare: Array, points: Array, *, guess: bool) -> tuple[Array, Array]:
        """Mean and standard deviation of the score."""
        return self._posterior.at(points)

    def draws(self, bare: Array, points: Array, normal: Array, *, guess: bool) -> Array:
        """(C, S) values at these standard normal quantiles (S,) of the posterior."""
        mean, deviation = self._posterior.at(points)
        return raw_values(mean[:, None] + deviation[:, None] * normal, self._raw, self._targets)

    def smoothed(self, rows: Indices, *, raw: bool) -> Array:
        """Posterior means at these rows, as scores or as values."""
        mean = self._posterior.at(self._points[rows])[0]
        return raw_values(mean, self._raw, self._targets) if raw else mean


class Limit:
    """A constraint.

    Attributes:
        violation: (N,) its values at the rows tried; -inf where there are none.
    """

    def __init__(self, task: "Task", quantity: "Quantity", features: Features, points: Array) -> None:
        values = exact_values(task, quantity)
        self._posterior: Posterior | None = None
        self._function = quantity.exact
        self.violation = np.where(np.isnan(values), -np.inf, values)
        rows = np.flatnonzero(~np.isnan(values))
        if quantity.exact:
            self._guess = linear(points, values)
        elif len(rows) > 1:
            self._model(task, features, points, selected(rows, -np.abs(values), MODELLED), values)

    def log_kept(self, bare: Array, points: Array, *, guess: bool) -> Array:
        """(C,) log probability that it is kept; where it is computed and broken, far below all others by the excess."""
        if self._function:
            excess = np.maximum(self._guess(points) if guess else self._function(bare), 0.0)
            return np.where(excess > 0.0, -1e6 - 1e6 * excess / (1.0 + excess), 0.0)
        if self._posterior is None:
            return np.zeros(len(bare))
        return log_probability_below(*self._posterior.at(points), self._limit)

    def _model(self, task: "Task", features: Features, points: Array, rows: Indices, values: Array) -> None:
        targets = limit_targets(values[rows])
        self._limit = -float(targets.mean())
        targets = targets - targets.mean()
        first = slice(0, min(_fitted(len(rows)), FITTED))
        hyper = fitted(task, features, points[rows[first]], targets[first], task.counts[rows[first]])
        self._posterior = with_running(hyper, task, points, rows, targets)


def exact_values(task: "Task", quantity: "Quantity") -> Array:
    """The measured values; where there are none and a function is given, those it computes."""
    values = quantity.values
    missing = np.isnan(values)
    if quantity.exact and missing.any():
        values = values.copy()
        values[missing] = quantity.exact(task.rows[missing])
    return values


def selected(rows: Indices, values: Array, most: int) -> Indices:
    """At most so many of these rows, in their order: half those of the largest values, half the latest."""
    if len(rows) <= most:
        return rows
    latest = rows[-(most // 2) :]
    earlier = rows[: -(most // 2)]
    best = earlier[np.argsort(-values[earlier], kind="stable")[: most - most // 2]]
    return np.concatenate([np.sort(best), latest])


def fitted(task: "Task", features: Features, points: Array, targets: Array, counts: Array) -> Hyper:
    """Hyperparameters, computed once for the same measurements."""
    key = points.tobytes() + targets.tobytes() + counts.tobytes()
    if key not in task.fits:
        task.fits[key] = fit(features, points, targets, counts)
    return task.fits[key]


def with_running(hyper: Hyper, task: "Task", points: Array, rows: Indices, targets: Array) -> Posterior:
    """The posterior given measured rows, and given that running ones turn out as it expects (Ginsbourger 2010)."""
    known = Posterior(hyper, points[rows], targets, task.counts[rows])
    running = np.setdiff1d(np.flatnonzero(task.running), rows)
    if not len(running):
        return known
    expected = known.at(points[running])[0]
    both = np.concatenate([rows, running])
    return Posterior(hyper, points[both], np.concatenate([targets, expected]), task.counts[both])


def linear(points: Array, values: Array) -> Callable[[Array], Array]:
    """Ridge regression on features: a guess at an exact function that costs nothing."""
    mean = values.mean()
    gram = points.T @ points + RIDGE * np.eye(points.shape[1])
    slope = np.linalg.solve(gram, points.T @ (values - mean))
    return lambda other: np.asarray(mean + other @ slope)


def _fitted(measured: int) -> int:
    """How many of the first measured rows hyperparameters are fitted to."""
    every = REFIT if measured < LATE else REFIT_LATE
    return max(measured - measured % every, min(measured, REFIT))
