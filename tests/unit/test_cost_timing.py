from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

from acmix_nas.cost.timing import measure


class FakeClock:
    """Each run is an iterator of its own times; time passes only by running."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now_s(self) -> float:
        return self.passed_s

    def time_ms(self, run: Callable[[], float]) -> float:
        time_ms = run()
        self.passed_s += time_ms / 1000
        return time_ms


def replay(times_ms: Iterable[float], log: list[str] | None = None, name: str = "") -> Callable[[], float]:
    times = iter(times_ms)

    def run() -> float:
        if log is not None:
            log.append(name)
        return next(times)

    return run


def steadily(*times_ms: float) -> Iterator[float]:
    while True:
        yield from times_ms


def test_a_steady_run_stops_by_its_spread_after_the_least_repetitions():
    timing = measure({"a": replay(steadily(10.0))}, clock=FakeClock(), min_repetitions=7)["a"]
    assert (timing.median_ms, timing.iqr_ms, timing.min_ms, timing.p95_ms) == (10.0, 0.0, 10.0, 10.0)
    assert (timing.repetitions, timing.stopped_by) == (7, "spread")


def test_median_quartiles_and_tail_are_those_of_the_times_after_the_warm_up():
    warm_up = [9.0, 5.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    runs = {"a": replay([*warm_up, 1.0, 2.0, 3.0, 4.0, 5.0])}
    timing = measure(runs, clock=FakeClock(), min_repetitions=5, max_repetitions=5)["a"]
    assert (timing.median_ms, timing.q1_ms, timing.q3_ms, timing.iqr_ms, timing.min_ms) == (3.0, 2.0, 4.0, 2.0, 1.0)
    assert timing.p95_ms == pytest.approx(4.8)
    assert timing.times_ms == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert timing.stopped_by == "repetitions"


def test_the_warm_up_lasts_until_times_no_longer_fall():
    falling = [100.0, 90.0, 80.0, 70.0, 60.0, 50.0, 40.0, 30.0, 20.0]
    timing = measure({"a": replay([*falling, *[10.0] * 100])}, clock=FakeClock())["a"]
    assert (timing.min_ms, timing.median_ms, timing.iqr_ms) == (10.0, 10.0, 0.0)


def test_a_restless_run_stops_by_time():
    timing = measure({"a": replay(steadily(100.0, 300.0))}, clock=FakeClock(), limit_s=2.0)["a"]
    assert timing.stopped_by == "time"
    assert timing.repetitions == 10 or 2.0 < timing.repetitions * 0.2 < 2.6


def test_a_very_slow_run_is_timed_three_times():
    timing = measure({"a": replay(steadily(60_000.0, 90_000.0))}, clock=FakeClock(), limit_s=1.0)["a"]
    assert (timing.repetitions, timing.stopped_by) == (3, "time")


def test_every_round_runs_each_once_in_an_order_of_its_own():
    log: list[str] = []
    runs = {name: replay(steadily(1.0), log, name) for name in "abc"}
    timings = measure(runs, clock=FakeClock(), min_repetitions=300)
    rounds = ["".join(log[-900:][start : start + 3]) for start in range(0, 900, 3)]
    assert {timing.repetitions for timing in timings.values()} == {300}
    counts = Counter(rounds)
    assert set(counts) == {"abc", "acb", "bac", "bca", "cab", "cba"}
    assert min(counts.values()) > 25


def test_timing_goes_on_until_every_network_is_steady():
    runs = {"steady": replay(steadily(10.0)), "restless": replay(steadily(5.0, 20.0))}
    timings = measure(runs, clock=FakeClock(), max_repetitions=40)
    assert (timings["steady"].repetitions, timings["steady"].stopped_by) == (40, "spread")
    assert (timings["restless"].repetitions, timings["restless"].stopped_by) == (40, "repetitions")


def test_nothing_to_time_is_nothing_measured():
    assert measure({}, clock=FakeClock(), max_repetitions=3) == {}


def test_progress_is_reported_and_never_falls():
    told: list[float] = []
    measure({"a": replay(steadily(100.0, 300.0))}, clock=FakeClock(), limit_s=2.0, tick=told.append)
    assert told == sorted(told)
    assert told[0] > 0
    assert told[-1] == 1.0
