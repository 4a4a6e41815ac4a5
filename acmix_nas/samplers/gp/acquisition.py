"""What a measurement would be worth: expected improvement, and hypervolume improvement. Larger is better throughout."""

from math import erfc, log, pi, sqrt
from statistics import NormalDist

import numpy as np

from acmix_nas.samplers.gp.parameter import Array, Mask

BOX_SAMPLES = 1000
"""Points that estimate a hypervolume of three or more objectives."""
CHUNK = 4_000_000
"""At most so many comparisons are held at once."""


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Log E[max(f - best, 0)], f ~ N(mean, deviation^2): log of s (phi(z) + z Phi(z)), z = (mean - best) / s.

    Mockus 1978; in logarithms (Ament 2023), for far from the best it is too small to rank by.
    """
    z = (mean - best) / deviation
    density = np.exp(-0.5 * z**2) / sqrt(2.0 * pi)
    near = np.maximum(density + z * _normal_cdf(z), 1e-300)
    inverse = np.minimum(z, -6.0) ** -2.0
    series = 1.0 - inverse * (3.0 - inverse * (15.0 - inverse * (105.0 - inverse * 945.0)))  # of z^2 (1 + z Phi / phi)
    far = -0.5 * z**2 - 0.5 * log(2.0 * pi) + np.log(inverse * series)
    return np.asarray(np.log(deviation) + np.where(z < -6.0, far, np.log(near)))


def log_probability_below(mean: Array, deviation: Array, limit: float) -> Array:
    """Log P(f <= limit), f ~ N(mean, deviation^2)."""
    return np.log(np.maximum(_normal_cdf((limit - mean) / deviation), 1e-300))


def normal_draws(rng: np.random.Generator, draws: int, columns: int) -> Array:
    """(draws, columns) standard normal quantiles, each column's evenly spread and in an order of its own."""
    quantiles = np.array([NormalDist().inv_cdf((index + 0.5) / draws) for index in range(draws)])
    return np.stack([rng.permutation(quantiles) for _ in range(columns)], axis=1)


def pareto(values: Array) -> Mask:
    """Which points (N, K) no other dominates; of equal ones all."""
    dominated = np.zeros(len(values), dtype=bool)
    for value in values:
        dominated |= (values <= value).all(axis=1) & (values < value).any(axis=1)
    return ~dominated


def hypervolume(values: Array, reference: Array) -> float:
    """Volume that two objectives (N, 2) dominate above the reference."""
    inside = values[(values > reference).all(axis=1)]
    if not len(inside):
        return 0.0
    heights, volume = reference[1], 0.0
    for first, second in inside[np.argsort(-inside[:, 0], kind="stable")]:
        if second > heights:
            volume += (first - reference[0]) * (second - heights)
            heights = second
    return float(volume)


def hypervolume_improvement(points: Array, front: Array, reference: Array, rng: np.random.Generator) -> Array:
    """By how much each point (C, K) alone would enlarge the volume that the front (N, K) dominates.

    Exact for two objectives; estimated by the same random points for all where there are more.
    """
    if points.shape[1] == 2:
        return _improvement_of_two(points, front, reference)
    return _improvement_by_sampling(points, front, reference, rng)


def _improvement_of_two(points: Array, front: Array, reference: Array) -> Array:
    """Sums strips of the first objective: between two points of the front the height of the front is constant."""
    front = front[(front > reference).all(axis=1)]
    front = front[pareto(front)]
    front = front[np.argsort(-front[:, 0])]
    upper = np.concatenate([[np.inf], front[:, 0]])
    lower = np.concatenate([front[:, 0], reference[:1]])
    height = np.concatenate([reference[1:], front[:, 1]])
    width = np.maximum(np.minimum(points[:, :1], upper) - lower, 0.0)
    return np.asarray((width * np.maximum(points[:, 1:] - height, 0.0)).sum(axis=1))


def _improvement_by_sampling(points: Array, front: Array, reference: Array, rng: np.random.Generator) -> Array:
    top = np.maximum(points.max(axis=0), reference)
    samples = reference + (top - reference) * rng.random((BOX_SAMPLES, len(reference)))
    for point in front:
        samples = samples[~(samples <= point).all(axis=1)]
    part = max(1, CHUNK // max(1, samples.size))
    pieces = [points[start : start + part] for start in range(0, len(points), part)]
    hits = [_dominates(piece, samples).sum(axis=1) for piece in pieces]
    return np.concatenate(hits) * (float(np.prod(top - reference)) / BOX_SAMPLES)


def _dominates(points: Array, samples: Array) -> Mask:
    """(C, S) whether a point is at least a sample in every objective."""
    inside = np.ones((len(points), len(samples)), dtype=bool)
    for column in range(points.shape[1]):
        inside &= samples[:, column] <= points[:, column, None]
    return inside


def _normal_cdf(z: Array) -> Array:
    return np.array([0.5 * erfc(-value / sqrt(2.0)) for value in z.ravel()]).reshape(z.shape)
