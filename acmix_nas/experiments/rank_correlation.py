"""Rank correlations with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from acmix_nas.fields import MAPPING, NUMBER, Origin

RESAMPLES = 2000
Values: TypeAlias = npt.NDArray[np.float64]


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
    return Agreement(spearman=_interval(_spearman, pairs, seed), kendall=_interval(_kendall, pairs, seed))


def _interval(correlation: Callable[..., Values], pairs: tuple[Values, Values], seed: int) -> Interval:
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


# scipy's own two take one pair of samples at a time, or give NaN where all values are the same: 2,000 draws would take
# seconds. These take many along the last axis.


def _spearman(a: Values, b: Values, axis: int = -1) -> Values:
    """Pearson's correlation of mean ranks."""
    return _cosine(*(ranks - ranks.mean(axis, keepdims=True) for ranks in (stats.rankdata(x, axis=-1) for x in (a, b))))


def _kendall(a: Values, b: Values, axis: int = -1) -> Values:
    """tau-b: the cosine of the signs of all differences."""
    return _cosine(*(np.sign(x[..., :, None] - x[..., None, :]).reshape(*x.shape[:-1], -1) for x in (a, b)))


def _cosine(a: Values, b: Values) -> Values:
    norm = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    product: Values = (a * b).sum(-1)
    correlation: Values = np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)
    return correlation
