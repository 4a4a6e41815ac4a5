"""Networks to begin with: the best of many random ones by scores that need no training."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

POOL = 1000
"""Random networks of which the best are chosen."""
SHARE = 2
"""One of so many random starts is chosen; the others stay random, as scores may be wrong about a space."""


def count_chosen(starts: int) -> int:
    """How many of a study's random starts are chosen by scores."""
    return starts // SHARE


def best_by_scores(scores: Sequence[Mapping[str, float | None]], signs: Mapping[str, int], count: int) -> list[int]:
    """The places of the networks with the best mean rank over scores.

    Args:
        scores: Of each network, by name; a network that lacks one has the worst rank of it.
        signs: The scores that count: 1 where larger is better, -1 where smaller is.
        count: How many.

    Returns:
        Best first; of equal ones the first.
    """
    ranks = np.mean([_ranks([_signed(of[name], sign) for of in scores]) for name, sign in signs.items()], axis=0)
    return [int(place) for place in np.argsort(-ranks, kind="stable")[:count]]


def _signed(value: float | None, sign: int) -> float:
    return -np.inf if value is None else sign * value


def _ranks(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Mean ranks, from 0 for the least."""
    column = np.asarray(values, dtype=np.float64)
    ordered = np.sort(column)
    first, last = np.searchsorted(ordered, column, "left"), np.searchsorted(ordered, column, "right") - 1
    ranks: npt.NDArray[np.float64] = (first + last) / 2
    return ranks
