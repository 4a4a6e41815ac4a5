"""Times several runs against each other: warmed up, interleaved, repeated until the spread is small."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

Run = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long one run takes.

    Attributes:
        median_ms: Median in milliseconds.
        iqr_ms: Distance between the quartiles in milliseconds.
        min_ms: Shortest time in milliseconds.
        repetitions: How often it was timed.
        stopped_by: "spread" (the interquartile range is small enough), "repetitions" or "time" (a limit came first).
    """

    median_ms: float
    iqr_ms: float
    min_ms: float
    repetitions: int
    stopped_by: str


class Clock(Protocol):
    """Times runs on one device."""

    def now_s(self) -> float:
        """Wall-clock time in seconds from any start."""

    def time_ms(self, run: Run) -> float:
        """Milliseconds that the device needs for one run."""


class CpuClock:
    """`time.perf_counter` around the run."""

    def now_s(self) -> float:
        """Wall-clock time in seconds."""
        return time.perf_counter()

    def time_ms(self, run: Run) -> float:
        """Milliseconds from call to return."""
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1000


class CudaClock:
    """CUDA events around the run, the second-level cache emptied before it.

    A warm cache flatters small operators, by up to 40 %: in a network it holds other layers' data.

    Args:
        device: The GPU.
        flush: Whether the cache is emptied.
    """

    def __init__(self, device: torch.device | str = "cuda", *, flush: bool = True) -> None:
        self._device = torch.device(device)
        size = 2 * torch.cuda.get_device_properties(self._device).L2_cache_size if flush else 0
        self._filler = torch.empty(size, dtype=torch.uint8, device=self._device)

    def now_s(self) -> float:
        """Wall-clock time in seconds."""
        return time.perf_counter()

    def time_ms(self, run: Run) -> float:
        """Milliseconds between the events around the run on the current stream."""
        with torch.cuda.device(self._device):
            start, end = _event(), _event()
            self._filler.zero_()
            start.record()
            run()
            end.record()
            end.synchronize()
        return float(start.elapsed_time(end))


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def clock_for(device: torch.device) -> Clock:
    """The clock of a device."""
    return CudaClock(device) if device.type == "cuda" else CpuClock()


def measure(
    runs: Mapping[str, Run],
    *,
    clock: Clock,
    spread: float = 0.05,
    limit_s: float = 10.0,
    min_repetitions: int = 10,
    max_repetitions: int = 1000,
) -> dict[str, Timing]:
    """Times runs in rounds: each round times every run once, and starts with another one than the round before.

    Interleaving lets a slow minute of the machine hit all runs alike, so that their ratios stay right.

    Args:
        runs: What to time, by name.
        clock: Of the device they run on.
        spread: Repeating ends when the interquartile range of every run is below this share of its median.
        limit_s: Repeating ends after so many seconds for each run, all together, not counting a warm-up of at most a
            third of it.
        min_repetitions: Rounds before the spread is believed; the time limit may end it after three.
        max_repetitions: Rounds at most.

    Returns:
        A `Timing` for each name.
    """
    limit_s *= len(runs)
    for run in runs.values():
        _warm_up(run, clock, limit_s / len(runs) / 3)
    times_ms: dict[str, list[float]] = {name: [] for name in runs}
    names, start_s = list(runs), clock.now_s()
    for repetition in range(max_repetitions):
        first = repetition % max(len(names), 1)
        for name in names[first:] + names[:first]:
            times_ms[name].append(clock.time_ms(runs[name]))
        spent_s = clock.now_s() - start_s
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
    return all(_iqr(times) <= spread * statistics.median(times) for times in times_ms.values())


def _summary(times_ms: list[float], spread: float, limit: str) -> Timing:
    median_ms, iqr_ms = statistics.median(times_ms), _iqr(times_ms)
    return Timing(
        median_ms=median_ms,
        iqr_ms=iqr_ms,
        min_ms=min(times_ms),
        repetitions=len(times_ms),
        stopped_by="spread" if iqr_ms <= spread * median_ms else limit,
    )


def _iqr(times_ms: list[float]) -> float:
    if len(times_ms) < 2:
        return 0.0
    lower, _, upper = statistics.quantiles(times_ms, n=4, method="inclusive")
    return upper - lower
