"""What a small table of rows x seeds may claim: simultaneous intervals, verdicts, the rows that may be the best.

The model is score = row + seed + rest, fitted by least squares, so that what a seed does to all rows alike cancels. The
variance of the rest is pooled over all cells. Intervals of the differences to a baseline named beforehand hold together
with probability 0.95 (Dunnett 1955, for any numbers of seeds by simulation).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MIN_SEEDS = 3
"""Below this number of seeds nothing is claimed and nothing is bold."""
DRAWS = 200_000
"""Simulated tables behind a quantile: its error is about 0.5 %."""
CONFIDENCE = 0.95

Scores = Mapping[str, Mapping[Hashable, float]]
"""Row -> seed -> score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a row differs from the baseline.

    Attributes:
        mean: Estimate of the difference.
        pairs: Number of seeds that both have.
        half_width: Half of the simultaneous interval; None where it cannot be estimated.
        better: Which scores are better: "higher" or "lower".
    """

    mean: float
    pairs: int
    half_width: float | None = None
    better: Literal["higher", "lower"] = "higher"

    @property
    def verdict(self) -> str:
        """Says "better", "worse", "not distinguishable", or why nothing can be said."""
        if self.half_width is None or self.pairs < MIN_SEEDS:
            return f"needs n >= {MIN_SEEDS}" if self.pairs < MIN_SEEDS else "no interval"
        if abs(self.mean) <= self.half_width:
            return "not distinguishable"
        return "better" if (self.mean > 0) == (self.better == "higher") else "worse"


def differences(
    scores: Scores,
    baseline: str | None,
    claimed: frozenset[str] | None = None,
    *,
    better: Literal["higher", "lower"] = "higher",
) -> dict[str, Difference]:
    """How each row differs from the baseline.

    Args:
        scores: The cells.
        baseline: Row to compare with, named beforehand.
        better: Which scores are better.
        claimed: Rows that a claim may be made on; all if None. The others get no interval and shape none.

    Returns:
        Row -> difference, for the other rows that share a seed with the baseline.
    """
    if baseline is None or not scores.get(baseline):
        return {}
    base = scores[baseline]
    paired = {row: [seed for seed in cells if seed in base] for row, cells in scores.items() if row != baseline}
    found = {
        row: Difference(mean=fmean(scores[row][seed] - base[seed] for seed in seeds), pairs=len(seeds), better=better)
        for row, seeds in paired.items()
        if seeds
    }
    rows = [row for row in scores if (claimed is None or row in claimed) and (row in found or row == baseline)]
    fit = _fit(scores, rows) if baseline in rows and len(rows) > 1 else None
    if fit is None:
        return found
    others = [row for row in rows if row != baseline]
    gains, errors, quantile = fit.against(baseline, others, two_sided=True)
    for row, gain, error in zip(others, gains, errors, strict=True):
        found[row] = replace(found[row], mean=gain, half_width=quantile * error)
    return found


def best_rows(scores: Scores, claimed: frozenset[str] | None = None) -> frozenset[str]:
    """The rows that cannot be distinguished from the best; with probability 0.95 the truly best one is among them.

    Gupta's subset selection (Gupta 1965; Hsu 1984): a row stays unless some row beats it by more than the one-sided
    simultaneous bound of all comparisons with it. Empty below `MIN_SEEDS` seeds.

    Args:
        scores: The cells, more being better.
        claimed: Rows that a claim may be made on; all if None.
    """
    rows = [row for row, cells in scores.items() if len(cells) >= MIN_SEEDS and (claimed is None or row in claimed)]
    fit = _fit(scores, rows) if len(rows) > 1 else None
    if fit is None:
        return frozenset()
    kept = []
    for row in rows:
        gains, errors, quantile = fit.against(row, [other for other in rows if other != row], two_sided=False)
        if all(gain <= quantile * error for gain, error in zip(gains, errors, strict=True)):
            kept.append(row)
    return frozenset(kept)


def seed_correlation(scores: Scores, claimed: frozenset[str] | None = None) -> float | None:
    """How alike rows move from seed to seed: the intraclass correlation of two rows with the same seed.

    (MS_seed - MS_rest) / (MS_seed + (k - 1) MS_rest) over the k rows and the seeds they all have (Shrout and Fleiss
    1979). 0: pairing by seed gains nothing. None with fewer than two rows or two common seeds, or without any spread.
    """
    rows = [row for row, cells in scores.items() if cells and (claimed is None or row in claimed)]
    seeds = [seed for seed in scores[rows[0]] if all(seed in scores[row] for row in rows)] if rows else []
    if len(rows) < 2 or len(seeds) < 2:
        return None
    import numpy as np

    table = np.array([[scores[row][seed] for seed in seeds] for row in rows])
    count, number = table.shape
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    of_rest = float((rest**2).sum()) / ((count - 1) * (number - 1))
    of_seed = count * float(((table.mean(0) - table.mean()) ** 2).sum()) / (number - 1)
    total = of_seed + (count - 1) * of_rest
    return (of_seed - of_rest) / total if total > 1e-18 else None


@lru_cache(maxsize=512)
def quantile(correlation: tuple[tuple[float, ...], ...], freedom: int, *, two_sided: bool = True) -> float:
    """The value that the largest of several t statistics with one pooled variance stays below, with probability 0.95.

    Args:
        correlation: Correlations of the estimates.
        freedom: Degrees of freedom of the variance.
        two_sided: Whether the largest absolute value is meant.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(np.array(correlation))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    largest = []
    for _ in range(10):
        drawn = rng.standard_normal((DRAWS // 10, len(root))) @ root.T
        largest.append((np.abs(drawn) if two_sided else drawn).max(1))
    scale = np.sqrt(rng.chisquare(freedom, DRAWS) / freedom)
    return float(np.quantile(np.concatenate(largest) / scale, CONFIDENCE))


@dataclass(frozen=True, slots=True)
class _Fit:
    """Estimates of the row effects, their covariance at unit variance, and the pooled variance."""

    rows: list[str]
    effects: "npt.NDArray[np.floating[Any]]"
    covariance: "npt.NDArray[np.floating[Any]]"
    spread: float
    freedom: int

    def against(self, row: str, others: Sequence[str], *, two_sided: bool) -> tuple[list[float], list[float], float]:
        """Gains of others on a row, their standard errors, and the quantile for all of them together."""
        import numpy as np

        contrast = np.zeros((len(others), len(self.rows)))
        contrast[:, self.rows.index(row)] = -1
        for line, other in enumerate(others):
            contrast[line, self.rows.index(other)] = 1
        covariance = contrast @ self.covariance @ contrast.T
        errors = np.sqrt(np.diag(covariance))
        order = np.argsort(np.round(errors, 9), kind="stable")  # rows with as many seeds alike: one quantile for all
        scaled = np.round(covariance / np.outer(errors, errors), 6)[np.ix_(order, order)]
        together = quantile(tuple(map(tuple, scaled.tolist())), self.freedom, two_sided=two_sided)
        return (contrast @ self.effects).tolist(), (self.spread * errors).tolist(), together


def _fit(scores: Scores, rows: list[str]) -> _Fit | None:
    """Least squares of row and seed effects; None without a degree of freedom or with rows that no seed connects."""
    import numpy as np

    seeds = list(dict.fromkeys(seed for row in rows for seed in scores[row]))
    cells = [(i, seeds.index(seed), value) for i, row in enumerate(rows) for seed, value in scores[row].items()]
    design = np.zeros((len(cells), len(rows) + len(seeds)))
    for line, (row, seed, _) in enumerate(cells):
        design[line, row] = design[line, len(rows) + seed] = 1
    values = np.array([value for _, _, value in cells])
    inverse = np.linalg.pinv(design.T @ design)
    rank = int(np.linalg.matrix_rank(design))
    freedom = len(cells) - rank
    if freedom < 1 or rank < len(rows) + len(seeds) - 1:
        return None
    effects = inverse @ design.T @ values
    rest = values - design @ effects
    spread = float(np.sqrt((rest @ rest) / freedom))
    count = len(rows)
    return _Fit(rows, effects[:count], inverse[:count, :count], spread, freedom)
