"""Rank correlations with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from acmix_nas.cost.compare import Values, cosine, spearman
from acmix_nas.fields import MAPPING, NUMBER, Origin

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

    @classmethod
    def from_dict(cls, values: object, origin: Origin, path: str) -> Self:
        """The inverse of `dataclasses.asdict`; what is wrong is an error of the origin."""
        pair = origin.fields(values, dict.fromkeys(("spearman", "kendall"), MAPPING), path=path)
        rules = dict.fromkeys(("value", "low", "high"), NUMBER)
        return cls(
            **{name: Interval(**origin.fields(each, rules, path=f"{path}.{name}")) for name, each in pair.items()}
        )


def agreement(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Agreement:
    """Rank correlations of paired values, with percentile intervals over 2,000 draws of pairs with replacement.

    A draw in which all values of one side are the same orders nothing; it counts as 0.

    Args:
        first: Values, (N,), N from 2 up.
        second: Their partners, (N,).
        seed: Seed of the draws.
    """
    pairs = (np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    return Agreement(spearman=_interval(spearman, pairs, seed), kendall=_interval(_kendall, pairs, seed))


def _interval(correlation: Callable[..., Values], pairs: tuple[Values, Values], seed: int) -> Interval:
    from scipy import stats  # takes seconds to load, and a search only reads what is stored

    draws = stats.bootstrap(
        pairs,
        correlation,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=100,  # Kendall's takes 8 bytes for each pair of values of each draw
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = draws.confidence_interval
    return Interval(value=float(correlation(*pairs)), low=float(low), high=float(high))


def _kendall(a: Values, b: Values, axis: int = -1) -> Values:
    """tau-b: the cosine of the signs of all differences. Of many samples at once, as SciPy's does not take them."""
    return cosine(*(np.sign(x[..., :, None] - x[..., None, :]).reshape(*x.shape[:-1], -1) for x in (a, b)))
