"""The exact sign-flip test of paired differences, and Holm's correction for several of them."""

from collections import Counter
from collections.abc import Mapping, Sequence

LEVEL = 0.05
STEP = 1e-12
"""Sums closer than this count as equal: accuracies are fractions of one number of images."""
MOST_SUMS = 2_000_000


def sign_flip(differences: Sequence[float]) -> float | None:
    """Probability of a mean so far from zero if every difference could as well have the other sign.

    Exact: all 2^n signs are counted, sums that are equal together (Fisher 1935).

    Args:
        differences: One for each seed.

    Returns:
        The two-sided p, at least 2 / 2^n; None where the sums are too many to count.
    """
    sums = Counter({0: 1})
    for difference in differences:
        step, grown = round(abs(difference) / STEP), Counter[int]()
        for total, count in sums.items():
            grown[total + step] += count
            grown[total - step] += count
        sums = grown
        if len(sums) > MOST_SUMS:
            return None
    seen = abs(sum(round(difference / STEP) for difference in differences))
    slack = len(differences) + 1  # each rounding is off by half a step at most
    extreme = sum(count for total, count in sums.items() if abs(total) >= seen - slack)
    return float(extreme / 2 ** len(differences))


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p (Holm 1979): below the level, the family's error is at most the level."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(values) - rank) * value))
        adjusted[name] = largest
    return adjusted


def seeds_needed(comparisons: int, level: float = LEVEL) -> int:
    """Seeds below which no difference of such a family can be significant: the least n with m 2 / 2^n <= level."""
    number = 1
    while comparisons * 2 / 2**number > level:
        number += 1
    return number
