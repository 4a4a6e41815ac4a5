"""`Problem`: all that is known of a search at the moment of a proposal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from acmix_nas.samplers.gp.gaussian_process import Hyper
from acmix_nas.samplers.gp.search_space import Array, Mask, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """An objective, larger being better, or a constraint, which holds where it is at most 0.

    Attributes:
        values: (N,) measured values, NaN where there are none.
        exact: Bare rows (C, D) -> (C,) values known without measuring; None if they have to be modelled.
    """

    values: Array
    exact: Callable[[Array], Array] | None = None

    def known_values(self, rows: Array) -> Array:
        """(N,) the measured values; where there are none and `exact` is given, those it computes for the rows."""
        missing = np.isnan(self.values)
        if self.exact is None or not missing.any():
            return self.values
        values = self.values.copy()
        values[missing] = self.exact(rows[missing])
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a proposal is made from.

    Attributes:
        search_space: All rows.
        rows: (N, D) distinct bare rows tried, running ones too, in the order of their first trial.
        counts: (N,) number of measurements that a row's values are the means of.
        running: (N,) rows whose values are still to come.
        objectives: What is maximised.
        constraints: What must be at most 0.
        excluded: (S, D) further bare rows not to be proposed.
        fits: Cache of fitted hyperparameters.
    """

    search_space: SearchSpace
    rows: Array
    counts: Array
    running: Mask
    objectives: Sequence[Quantity]
    constraints: Sequence[Quantity] = ()
    excluded: Array | None = None
    fits: dict[bytes, Hyper] = field(default_factory=dict)

    @property
    def seen(self) -> Array:
        """Bare rows not to be proposed."""
        return self.rows if self.excluded is None else np.concatenate([self.rows, self.excluded])
