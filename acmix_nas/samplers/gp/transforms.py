"""Measured values as targets of a Gaussian process."""

import numpy as np
from scipy.special import ndtri

from acmix_nas.samplers.gp.parameter import Array


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
