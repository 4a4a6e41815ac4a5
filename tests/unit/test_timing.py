from collections.abc import Callable, Iterable, Iterator

import pytest
import torch

from acmix_nas.cost.timing import CpuClock, CudaClock, clock_for, measure


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
    assert (timing.median_ms, timing.iqr_ms, timing.min_ms) == (10.0, 0.0, 10.0)
    assert (timing.repetitions, timing.stopped_by) == (7, "spread")


def test_median_and_quartiles_are_those_of_the_times_after_the_warm_up():
    warm_up = [9.0, 5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    runs = {"a": replay([*warm_up, 1.0, 2.0, 3.0, 4.0, 5.0])}
    timing = measure(runs, clock=FakeClock(), min_repetitions=5, max_repetitions=5)["a"]
    assert (timing.median_ms, timing.iqr_ms, timing.min_ms) == (3.0, 2.0, 1.0)
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


def test_rounds_interleave_the_runs_and_rotate_who_is_first():
    log: list[str] = []
    runs = {name: replay(steadily(1.0), log, name) for name in "abc"}
    timings = measure(runs, clock=FakeClock(), min_repetitions=6)
    assert "".join(log[-18:]) == "abcbcacab" * 2
    assert {timing.repetitions for timing in timings.values()} == {6}


def test_a_steady_run_waits_for_a_restless_one_and_each_says_what_stopped_it():
    runs = {"steady": replay(steadily(10.0)), "restless": replay(steadily(5.0, 20.0))}
    timings = measure(runs, clock=FakeClock(), max_repetitions=40)
    assert (timings["steady"].repetitions, timings["steady"].stopped_by) == (40, "spread")
    assert (timings["restless"].repetitions, timings["restless"].stopped_by) == (40, "repetitions")


def test_nothing_to_time_is_nothing_measured():
    assert measure({}, clock=FakeClock(), max_repetitions=3) == {}


def test_the_cpu_clock_times_one_call():
    calls: list[int] = []
    assert CpuClock().time_ms(lambda: calls.append(1)) >= 0
    assert calls == [1]
    assert isinstance(clock_for(torch.device("cpu")), CpuClock)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("flush", [True, False])
def test_the_cuda_clock_waits_for_the_device(flush):
    product = torch.randn(1024, 1024, device="cuda")
    timings = measure({"product": lambda: product @ product}, clock=CudaClock(flush=flush), limit_s=1.0)
    assert timings["product"].min_ms > 0
    assert isinstance(clock_for(torch.device("cuda")), CudaClock)
