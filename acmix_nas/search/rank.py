"""Rank correlations with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How alike two orders are; 1 for the same, 0 for no relation, -1 for the reverse.

    Attributes:
        spearman: Pearson's correlation of ranks.
        kendall: Kendall's tau-b: of all pairs, the share in the same order less the share in the other.
    """

    spearman: Interval
    kendall: Interval


def agreement(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Agreement:
    """Rank correlations of paired values, with percentile intervals over 2,000 draws of pairs with replacement.

    A draw in which all values of one side are the same orders nothing; it counts as 0.

    Args:
        first: Values, (N,), N from 2 up.
        second: Their partners, (N,).
        seed: Seed of the draws.
    """
    pairs = (np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    return Agreement(
        spearman=_interval(lambda a, b: stats.spearmanr(a, b).statistic, pairs, seed),
        kendall=_interval(lambda a, b: stats.kendalltau(a, b).statistic, pairs, seed),
    )


def _interval(correlation: Callable[[Any, Any], float], pairs: tuple[Any, Any], seed: int) -> Interval:
    def statistic(a: Any, b: Any) -> float:
        return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(correlation(a, b))

    draws = stats.bootstrap(
        pairs,
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = draws.confidence_interval
    return Interval(value=statistic(*pairs), low=float(low), high=float(high))
