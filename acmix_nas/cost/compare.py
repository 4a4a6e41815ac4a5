"""How measured numbers compare: whether one run is slower than another, and how alike two orders are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Values: TypeAlias = npt.NDArray[np.float64]

LEVEL = 0.95
"""Confidence of an interval."""
MARGINS = {"cpu": 0.05, "cuda": 0.01}
"""Share of a time below which two runs count as equal, by kind of device. On a CPU the place of weights and maps in
memory and the state of its allocator shift a ratio by up to 5 % from one process to the next (benchmarks/timing.py),
which no repetition within a process shows."""
LEAST_ROUNDS = 8
"""With fewer the bootstrap interval is too short."""
RESAMPLES = 4000
SLOWER, FASTER, NONE_SEEN, TOO_FEW = "slower", "faster", "no difference seen", "too few rounds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How the times of a run compare with those of a baseline.

    Attributes:
        ratio: Median over the rounds of time over the baseline's time; above 1 is slower.
        low: Lower end of its interval; None with too few rounds.
        high: Upper end.
        difference: "slower", "faster", "no difference seen" (the interval reaches into the margin around 1) or
            "too few rounds".
    """

    ratio: float
    low: float | None
    high: float | None
    difference: str

    def __str__(self) -> str:
        """For example "1.83x [1.79, 1.88]"."""
        if self.low is None or self.high is None:
            return f"{self.ratio:.2f}x, {TOO_FEW}"
        if self.difference == NONE_SEEN:
            return f"{NONE_SEEN} [{self.low:.3f}, {self.high:.3f}]"
        digits = 2 if abs(self.ratio - 1) >= 0.1 else 3
        return f"{self.ratio:.{digits}f}x [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def compare(baseline_ms: Sequence[float], times_ms: Sequence[float], *, margin: float = MARGINS["cpu"]) -> Ratio:
    """Compares times that were taken in the same rounds.

    The percentile bootstrap of the median of the rounds' log-ratios: rounds are drawn with replacement, with a fixed
    seed, `RESAMPLES` times. Rounds are taken as exchangeable, which the random order in each of them
    (`acmix_nas.cost.timing.measure`) makes so: whatever slows a round slows both.

    Args:
        baseline_ms: The baseline's times, by round.
        times_ms: The run's times, by round.
        margin: Share of a time that is no difference.
    """
    logs = np.log(np.asarray(times_ms) / np.asarray(baseline_ms))
    ratio = float(np.exp(np.median(logs)))
    if len(logs) < LEAST_ROUNDS:
        return Ratio(ratio=ratio, low=None, high=None, difference=TOO_FEW)
    drawn = np.random.default_rng(0).integers(len(logs), size=(RESAMPLES, len(logs)))
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = (float(end) for end in np.exp(np.quantile(np.median(logs[drawn], axis=1), tails)))
    return Ratio(ratio=ratio, low=low, high=high, difference=_verdict(low, high, margin))


def _verdict(low: float, high: float, margin: float) -> str:
    if low > 1 + margin:
        return SLOWER
    return FASTER if high < 1 / (1 + margin) else NONE_SEEN


def spearman(a: Values, b: Values, axis: int = -1) -> Values:
    """Pearson's correlation of mean ranks along the last axis; 0 where all values of one side are the same.

    SciPy's takes one pair of samples at a time, or gives NaN there.
    """
    from scipy.stats import rankdata  # takes seconds to load, and a search compares no orders

    return cosine(*(ranks - ranks.mean(axis, keepdims=True) for ranks in (rankdata(x, axis=-1) for x in (a, b))))


def cosine(a: Values, b: Values) -> Values:
    """Cosine of the angle of two vectors along the last axis; 0 where one is 0."""
    norm = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    product: Values = (a * b).sum(-1)
    correlation: Values = np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)
    return correlation
