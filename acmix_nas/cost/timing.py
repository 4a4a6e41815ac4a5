"""Times several runs against each other: warmed up, interleaved, repeated until the spread is small."""

import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from acmix_nas.cost.clock import Clock, Run

Tick = Callable[[float], None]
"""Called after every round with the share of the time limit that is spent, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long one run takes.

    Attributes:
        median_ms: Median in milliseconds.
        q1_ms: First quartile in milliseconds.
        q3_ms: Third quartile in milliseconds.
        min_ms: Shortest time in milliseconds.
        p95_ms: 95th percentile in milliseconds.
        repetitions: How often it was timed.
        stopped_by: "spread" (the interquartile range is small enough), "repetitions" or "time" (a limit came first).
        times_ms: Every time, by round; runs measured together have the same rounds.
    """

    median_ms: float
    q1_ms: float
    q3_ms: float
    min_ms: float
    p95_ms: float
    repetitions: int
    stopped_by: str
    times_ms: tuple[float, ...] = field(repr=False)

    @property
    def iqr_ms(self) -> float:
        """Distance between the quartiles in milliseconds."""
        return self.q3_ms - self.q1_ms


def measure(
    runs: Mapping[str, Run],
    *,
    clock: Clock,
    spread: float = 0.05,
    limit_s: float = 10.0,
    min_repetitions: int = 10,
    max_repetitions: int = 1000,
    tick: Tick = lambda share: None,
) -> dict[str, Timing]:
    """Times runs in rounds: each round times every run once, in an order of its own drawn with a fixed seed.

    Interleaving lets a slow minute of the machine hit all runs alike; a random order leaves no run always behind the
    same other one. Together they make the ratios of a round comparable (`acmix_nas.cost.compare`).

    Args:
        runs: What to time, by name.
        clock: Of the device they run on.
        spread: Repeating ends when the interquartile range of every run is below this share of its median.
        limit_s: Repeating ends after this many seconds for each run, all together, not counting a warm-up of at most a
            third of it.
        min_repetitions: Rounds before the spread is believed; the time limit may end it after three.
        max_repetitions: Rounds at most.
        tick: Told of every round.

    Returns:
        A `Timing` for each name.
    """
    limit_s *= len(runs)
    for run in runs.values():
        _warm_up(run, clock, limit_s / len(runs) / 3)
    times_ms: dict[str, list[float]] = {name: [] for name in runs}
    order, shuffle, start_s = list(runs), random.Random(0).shuffle, clock.now_s()
    for repetition in range(max_repetitions if runs else 0):
        shuffle(order)
        for name in order:
            times_ms[name].append(clock.time_ms(runs[name]))
        spent_s = clock.now_s() - start_s
        tick(min(1.0, max(spent_s / limit_s, (repetition + 1) / max_repetitions)))
        if repetition + 1 >= min_repetitions and _settled(times_ms, spread):
            break
        if repetition + 1 >= 3 and spent_s > limit_s:
            break
    out_of_time = clock.now_s() - start_s > limit_s
    return {name: _summary(times, spread, "time" if out_of_time else "repetitions") for name, times in times_ms.items()}


def _warm_up(run: Run, clock: Clock, limit_s: float) -> None:
    """Runs until the last three times are no longer shorter than the three before."""
    times_ms: list[float] = []
    start_s = clock.now_s()
    while clock.now_s() - start_s < limit_s or len(times_ms) < 2:
        times_ms.append(clock.time_ms(run))
        if len(times_ms) >= 6 and statistics.median(times_ms[-3:]) > 0.97 * statistics.median(times_ms[-6:-3]):
            return


def _settled(times_ms: Mapping[str, list[float]], spread: float) -> bool:
    return all(_spread(times) <= spread for times in times_ms.values())


def _summary(times_ms: list[float], spread: float, limit: str) -> Timing:
    low_ms, high_ms = _quartiles(times_ms)
    median_ms = statistics.median(times_ms)
    return Timing(
        median_ms=median_ms,
        q1_ms=low_ms,
        q3_ms=high_ms,
        min_ms=min(times_ms),
        p95_ms=statistics.quantiles(times_ms, n=20, method="inclusive")[-1] if len(times_ms) > 1 else median_ms,
        repetitions=len(times_ms),
        stopped_by="spread" if _spread(times_ms) <= spread else limit,
        times_ms=tuple(times_ms),
    )


def _spread(times_ms: list[float]) -> float:
    """The interquartile range as a share of the median."""
    low_ms, high_ms = _quartiles(times_ms)
    return (high_ms - low_ms) / statistics.median(times_ms)


def _quartiles(times_ms: list[float]) -> tuple[float, float]:
    if len(times_ms) < 2:
        return times_ms[0], times_ms[0]
    low, _, high = statistics.quantiles(times_ms, n=4, method="inclusive")
    return low, high
