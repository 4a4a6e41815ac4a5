"""Features of rows: the weighted Hamming distance over choices is a squared distance between feature vectors.

With w_m the weight of feature m, the kernel's distance of two rows is sum_m w_m (F_m - F'_m)^2. A nominal choice has
one feature for each option, 1/sqrt(2) where it is taken: two rows that differ in it are (w_a + w_b) / 2 apart, so that
every option has its own weight. An ordered choice has its position in [0, 1]. Being inactive is one more level.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from acmix_nas.samplers.gp.search_space import Array, Mask, Parameter

OWN_OPTIONS = 12
"""The options of a choice with more options than this share one weight."""
SPREAD = 0.7
"""Prior standard deviation, in log units, of a choice's weight around its group's, of the group's, of an option's."""


@dataclass(frozen=True, slots=True)
class Features:
    """The features of rows, and the prior of their weights.

    log w = base + loadings @ theta, theta_p ~ N(0, spread_p^2).

    Attributes:
        parameters: The columns.
        conditional: For each parameter, whether it may be inactive.
        base: (M,) log weights at theta = 0: 2 / D.
        loadings: (M, P) the thetas that each feature's log weight is the sum of.
        spread: (P,) prior standard deviations.
    """

    parameters: tuple[Parameter, ...]
    conditional: Mask
    base: Array
    loadings: Array
    spread: Array

    @classmethod
    def of(cls, parameters: Sequence[Parameter], conditional: Mask) -> "Features":
        """The features of these columns."""
        loads = [
            feature
            for index, parameter in enumerate(parameters)
            for feature in _loads(index, parameter, bool(conditional[index]))
        ]
        thetas = list(dict.fromkeys(name for names in loads for name in names))
        loadings = np.array([[name in names for name in thetas] for names in loads], dtype=np.float64)
        base = np.full(len(loads), log(2.0 / max(len(parameters), 1)))
        shape = (len(loads), len(thetas))
        return cls(tuple(parameters), conditional, base, loadings.reshape(shape), np.full(len(thetas), SPREAD))

    def encode(self, bare: Array) -> Array:
        """Features (C, M) of bare rows (C, D)."""
        columns: list[Array] = []
        for index, parameter in enumerate(self.parameters):
            levels = bare[:, index]
            absent = np.isnan(levels)
            if parameter.ordered:
                columns.append(np.where(absent, 0.5, parameter.units(np.where(absent, 0.0, levels)))[:, None])
            elif parameter.size and parameter.size > 1:
                columns.append((levels[:, None] == np.arange(parameter.size)) * sqrt(0.5))
            if self.conditional[index]:
                columns.append(absent[:, None] * sqrt(0.5))
        if not columns:
            return np.zeros((len(bare), 0))
        return np.concatenate(columns, axis=1).astype(np.float64)


def _loads(index: int, parameter: Parameter, conditional: bool) -> list[tuple[Hashable, ...]]:
    """The thetas of each of a parameter's features."""
    shared: tuple[Hashable, ...] = (("choice", index), ("group", parameter.group))
    if parameter.ordered:
        features = [shared]
    elif parameter.size is None or parameter.size < 2:
        features = []
    elif parameter.size == 2 or parameter.size > OWN_OPTIONS:
        features = [shared] * parameter.size
    else:
        features = [(*shared, ("option", parameter.group, option)) for option in range(parameter.size)]
    return [*features, (*shared, ("absent",))] if conditional else features
