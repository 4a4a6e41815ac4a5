"""Differences between the rows of a small table, with intervals that hold for all rows at once."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

MIN_SEEDS = 3
"""Below this number of seeds nothing stands out in a table."""

Scores = Mapping[str, Mapping[Hashable, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean of the differences to the baseline, paired by seed.

    Attributes:
        mean: The mean over the seeds that both have.
        pairs: Number of those seeds.
        half_width: Half of the simultaneous 95 % interval; None where it cannot be estimated.
    """

    mean: float
    pairs: int
    half_width: float | None = None

    @property
    def stands_out(self) -> bool:
        """Whether there are enough seeds and the interval leaves out zero."""
        return self.half_width is not None and self.pairs >= MIN_SEEDS and abs(self.mean) > self.half_width


def differences(
    scores: Scores, baseline: str | None, independent: frozenset[str] | None = None
) -> dict[str, Difference]:
    """What each row gains on the baseline.

    The seed effect is removed, the residual variance s^2 pooled over rows x seeds, and the half width is
    c * s * sqrt(2 / pairs) with Dunnett's two-sided c, so that all intervals hold together with probability 0.95.

    Args:
        scores: Row -> seed -> accuracy.
        baseline: Row to compare with, named beforehand.
        independent: Rows that were trained themselves; all if None. The others share a score and get no interval.

    Returns:
        Row -> difference, for the other rows that share a seed with the baseline.
    """
    if baseline is None or not scores.get(baseline):
        return {}
    means = {row: _paired(values, scores[baseline]) for row, values in scores.items() if row != baseline}
    rows = [row for row in scores if independent is None or row in independent or row == baseline]
    spread, freedom = _residual(scores, rows, baseline)
    compared = sum(1 for row in rows if row != baseline and means[row] is not None)
    found: dict[str, Difference] = {}
    for row, paired in means.items():
        if paired is not None:
            known = freedom > 0 and row in rows
            width = dunnett(compared, freedom) * spread * (2 / len(paired)) ** 0.5 if known else None
            found[row] = Difference(mean=fmean(paired), pairs=len(paired), half_width=width)
    return found


@lru_cache(maxsize=256)
def dunnett(compared: int, freedom: int, confidence: float = 0.95) -> float:
    """Quantile of the largest |t| of comparisons with one baseline of the same size (Dunnett 1955), by simulation.

    Args:
        compared: Number of rows beside the baseline.
        freedom: Degrees of freedom of the pooled variance.
        confidence: Probability that all intervals hold.

    Returns:
        The quantile, with an error of about 1 %.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    count = 100_000
    shared = rng.standard_normal(count)
    largest = np.zeros(count)
    for _ in range(compared):
        np.maximum(largest, np.abs(rng.standard_normal(count) - shared), out=largest)
    scale = np.sqrt(2 * rng.chisquare(freedom, count) / freedom)
    return float(np.quantile(largest / scale, confidence))


def _paired(values: Mapping[Hashable, float], base: Mapping[Hashable, float]) -> list[float] | None:
    return [values[seed] - base[seed] for seed in values if seed in base] or None


def _residual(scores: Scores, rows: list[str], baseline: str) -> tuple[float, int]:
    """Residual standard deviation and degrees of freedom over the rows that have all seeds of the baseline."""
    seeds = list(scores[baseline])
    block = [[scores[row][seed] for seed in seeds] for row in rows if all(seed in scores[row] for seed in seeds)]
    freedom = (len(block) - 1) * (len(seeds) - 1)
    if freedom < 1:
        return 0.0, 0
    row_means, seed_means = [fmean(row) for row in block], [fmean(column) for column in zip(*block, strict=True)]
    total = fmean(row_means)
    squares = [
        (value - row_mean - seed_mean + total) ** 2
        for row, row_mean in zip(block, row_means, strict=True)
        for value, seed_mean in zip(row, seed_means, strict=True)
    ]
    return (sum(squares) / freedom) ** 0.5, freedom
