"""The Gaussian process: y = f + noise, f ~ GP(0, s^2 exp(-sum_m w_m (F_m - F'_m)^2)).

Rasmussen and Williams 2006, algorithm 2.1 and section 5.4.1; the weights are maximum a posteriori.
"""

from dataclasses import dataclass

import numpy as np

from acmix_nas.samplers.gp.kernel import Features
from acmix_nas.samplers.gp.search_space import Array

LBFGS = {"maxiter": 25, "maxcor": 8, "ftol": 1e-5, "gtol": 1e-3}
"""A rough fit is enough: proposals do not improve with a finer one."""
FAILED = 1e10
"""The loss of hyperparameters whose covariance has no Cholesky factor; L-BFGS takes no infinity."""
SIGNAL, SIGNAL_SPREAD = 1.0, 0.5
NOISE, NOISE_SPREAD = 0.02, 1.0
"""Prior medians of signal and noise variance and their spreads in log units; targets have variance 1."""
LEAST_NOISE = 1e-5


@dataclass(frozen=True, slots=True)
class Hyper:
    """Hyperparameters.

    Attributes:
        weights: (M,) weight of each feature.
        signal: Variance s^2 of f.
        noise: Variance of one measurement's noise.
    """

    weights: Array
    signal: float
    noise: float


class Posterior:
    """The posterior of f given measurements.

    Args:
        hyper: The hyperparameters.
        points: (N, M) features of the measured rows.
        targets: (N,) means of the measurements.
        counts: (N,) number of measurements of each mean.
    """

    def __init__(self, hyper: Hyper, points: Array, targets: Array, counts: Array) -> None:
        self._hyper = hyper
        self._points = points
        covariance = kernel(hyper, points, points)
        covariance[np.diag_indices_from(covariance)] += hyper.noise / counts
        factor = np.linalg.cholesky(covariance)
        self._whiten = np.linalg.solve(factor, np.eye(len(factor)))
        self._targets = targets
        self._white = self._whiten @ targets

    def at(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of f at features (C, M)."""
        cross = self._whiten @ kernel(self._hyper, self._points, points)
        variance = self._hyper.signal - (cross**2).sum(axis=0)
        return cross.T @ self._white, np.sqrt(np.maximum(variance, 1e-12))

    def mean(self, points: Array) -> Array:
        """Mean of f at features (C, M); faster than `at`."""
        return np.asarray(kernel(self._hyper, points, self._points) @ (self._whiten.T @ self._white))

    def left_out(self) -> Array:
        """(N,) errors of the leave-one-out predictions (Rasmussen and Williams, 5.12)."""
        inverse = self._whiten.T @ self._whiten
        return np.asarray((inverse @ self._targets) / np.diag(inverse))


def kernel(hyper: Hyper, one: Array, other: Array) -> Array:
    """Covariances (N, C) of f at two sets of features."""
    left, right = one * np.sqrt(hyper.weights), other * np.sqrt(hyper.weights)
    squared = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None] - 2.0 * left @ right.T
    return np.asarray(hyper.signal * np.exp(-np.maximum(squared, 0.0)))


def fit(features: Features, points: Array, targets: Array, counts: Array) -> Hyper:
    """The most probable hyperparameters, given measurements."""

    def loss(x: Array) -> tuple[float, Array]:
        return negative_log_posterior(features, x, points, targets, counts)

    start = np.zeros(len(features.spread) + 2)
    from scipy.optimize import minimize  # takes a second to load, and a report of few trials fits nothing

    return _hyper(features, minimize(loss, start, jac=True, method="L-BFGS-B", options=LBFGS).x)


def negative_log_posterior(
    features: Features, x: Array, points: Array, targets: Array, counts: Array
) -> tuple[float, Array]:
    """Minus the log posterior density of hyperparameters, up to a constant, and its gradient.

    Args:
        features: Gives the weights' prior.
        x: (P + 2,) theta, then log(signal / SIGNAL) and log(noise / NOISE).
        points: (N, M) features of the measured rows.
        targets: (N,) means of the measurements.
        counts: (N,) number of measurements of each mean.
    """
    hyper = _hyper(features, x)
    covariance = kernel(hyper, points, points)
    noisy = covariance + np.diag(hyper.noise / counts)
    spread = np.append(features.spread, (SIGNAL_SPREAD, NOISE_SPREAD))
    prior = x / spread**2
    try:
        factor = np.linalg.cholesky(noisy)
    except np.linalg.LinAlgError:
        return FAILED, prior
    whiten = np.linalg.solve(factor, np.eye(len(factor)))
    inverse = whiten.T @ whiten
    alpha = inverse @ targets
    value = 0.5 * targets @ alpha + np.log(np.diag(factor)).sum() + 0.5 * x @ prior
    slope = 0.5 * (inverse - np.outer(alpha, alpha))
    inner = slope * covariance
    squared = 2.0 * (inner.sum(axis=1) @ points**2 - (points * (inner @ points)).sum(axis=0))
    gradient = np.append(
        -(hyper.weights * squared) @ features.loadings,
        (inner.sum(), (np.diag(slope) * (hyper.noise - LEAST_NOISE) / counts).sum()),
    )
    return float(value), gradient + prior


def _hyper(features: Features, x: Array) -> Hyper:
    weights = np.exp(np.clip(features.base + features.loadings @ x[:-2], -15.0, 7.0))
    signal, noise = np.exp(np.clip(x[-2:] + np.log((SIGNAL, NOISE)), -12.0, 5.0))
    return Hyper(weights, float(signal), float(noise) + LEAST_NOISE)
