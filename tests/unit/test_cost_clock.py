"""The CUDA path runs on a `torch.cuda` whose device works by itself, in virtual time; wrong timing code shows on it."""

import inspect
from collections.abc import Callable
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest
import torch

from acmix_nas.cost import clock as clock_module
from acmix_nas.cost import timing as timing_module
from acmix_nas.cost.clock import CpuClock, CudaClock, capture, clock_for

LAUNCH_MS = 0.25


class VirtualCuda:
    """`torch.cuda` with one device: the host goes on after a launch, each stream works off its queue.

    Attributes:
        host_ms: The host's time.
        streams: Name -> time at which the stream has done all that it was given.
    """

    def __init__(self) -> None:
        self.host_ms = 0.0
        self.streams = {"main": 0.0}
        self.current = "main"
        self.captured: list[float] | None = None
        self.runs_on: list[str] = []

    def work(self, time_ms: float) -> None:
        """Launches a kernel on the current stream; in a capture it is written down and does not run."""
        self.host_ms += LAUNCH_MS
        self.runs_on.append("capture" if self.captured is not None else self.current)
        if self.captured is not None:
            self.captured.append(time_ms)
        else:
            self.streams[self.current] = max(self.streams[self.current], self.host_ms) + time_ms

    @contextmanager
    def device(self, device):
        yield

    def get_device_properties(self, device):
        return SimpleNamespace(L2_cache_size=100)

    def Event(self, *, enable_timing):  # noqa: N802, torch's name
        assert enable_timing
        return Event(self)

    def Stream(self):  # noqa: N802, torch's name
        name = f"side{len(self.streams)}"
        self.streams[name] = 0.0
        return Stream(self, name)

    def current_stream(self):
        return Stream(self, self.current)

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream.name
        yield
        self.current = before

    def CUDAGraph(self):  # noqa: N802, torch's name
        return Graph(self)

    @contextmanager
    def graph(self, graph):
        self.captured = []
        yield
        graph.kernels, self.captured = self.captured, None


class Event:
    """As of CUDA: the stream marks it when it comes to it; its time can be asked for when the host knows of that."""

    def __init__(self, cuda: VirtualCuda) -> None:
        self.cuda, self.at_ms = cuda, None

    def record(self, stream=None) -> None:
        streams, name = self.cuda.streams, stream.name if stream else self.cuda.current
        streams[name] = self.at_ms = max(streams[name], self.cuda.host_ms)

    def synchronize(self) -> None:
        self.cuda.host_ms = max(self.cuda.host_ms, self.at_ms)

    def elapsed_time(self, other) -> float:
        if max(self.at_ms, other.at_ms) > self.cuda.host_ms:
            raise RuntimeError("the device is not there yet")
        return other.at_ms - self.at_ms


class Stream:
    def __init__(self, cuda: VirtualCuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other) -> None:
        streams = self.cuda.streams
        streams[self.name] = max(streams[self.name], streams[other.name])


class Graph:
    def __init__(self, cuda: VirtualCuda) -> None:
        self.cuda, self.kernels = cuda, []

    def replay(self) -> None:
        self.cuda.work(sum(self.kernels))


class Filler:
    """What empties the cache of a virtual device."""

    def __init__(self, cuda: VirtualCuda) -> None:
        self.cuda = cuda

    def zero_(self) -> None:
        self.cuda.work(7.0)


def is_device_time(found_ms: float, expected_ms: float) -> bool:
    """Where the device had nothing to do, it waits for the first launch between the events."""
    return expected_ms <= found_ms <= expected_ms + LAUNCH_MS


def check_a_run_is_timed_and_nothing_else(clocks: ModuleType, _) -> None:
    """However long the queue is, and whether the cache is emptied; the time is the device's, not the host's."""
    for queued_ms in (0.0, 40.0):
        for flush in (False, True):
            cuda = VirtualCuda()
            clock = clocks.CudaClock("cpu", flush=flush, cuda=cuda)
            clock._filler = Filler(cuda) if flush else None
            cuda.work(queued_ms)
            assert is_device_time(clock.time_ms(lambda cuda=cuda: [cuda.work(2.0) for _ in range(5)]), 10.0)


def check_the_host_has_waited(clocks: ModuleType, _) -> None:
    cuda = VirtualCuda()
    clock = clocks.CudaClock("cpu", cuda=cuda)
    clock.time_ms(lambda: cuda.work(30.0))
    assert cuda.host_ms >= max(cuda.streams.values())


def check_stamps_are_moments_of_the_device(clocks: ModuleType, _) -> None:
    cuda = VirtualCuda()
    clock = clocks.CudaClock("cpu", cuda=cuda)
    start = clock.stamp()
    cuda.work(4.0)
    assert is_device_time(clock.between_ms(start, clock.stamp()), 4.0)


def check_a_graph_is_warmed_up_aside_and_replays_what_was_captured(clocks: ModuleType, _) -> None:
    cuda = VirtualCuda()
    cuda.work(20.0)
    replay = clocks.capture(lambda: cuda.work(3.0), "cpu", cuda=cuda)
    assert cuda.runs_on == ["main", *["side1"] * 3, "capture"]
    assert cuda.streams["side1"] >= 20.0 + 3 * 3.0, "the side stream has waited for what was queued"
    assert cuda.streams["main"] >= cuda.streams["side1"], "and the main stream for the side stream"
    clock = CudaClock("cpu", cuda=cuda)
    assert is_device_time(clock.time_ms(replay), 3.0)


def check_the_first_runs_are_not_among_the_times(clocks: ModuleType, timings: ModuleType) -> None:
    """The device is slow until it is warm."""
    cuda = VirtualCuda()
    slow = [90.0, 60.0, 30.0, 12.0]
    run = lambda: cuda.work(slow.pop(0) if slow else 10.0)  # noqa: E731
    clock = clocks.CudaClock("cpu", cuda=cuda)
    timing = timings.measure({"a": run}, clock=clock, min_repetitions=5, max_repetitions=5)["a"]
    assert len(timing.times_ms) == 5
    assert all(is_device_time(time_ms, 10.0) for time_ms in timing.times_ms)


CHECKS: list[Callable[[ModuleType, ModuleType], None]] = [
    check_a_run_is_timed_and_nothing_else,
    check_the_host_has_waited,
    check_stamps_are_moments_of_the_device,
    check_a_graph_is_warmed_up_aside_and_replays_what_was_captured,
    check_the_first_runs_are_not_among_the_times,
]
EMPTIED = """\
            if self._filler is not None:
                self._filler.zero_()
"""
STARTED = "            start = self.stamp()\n"
TIMED = """\
            run()
            return self.between_ms(start, self.stamp())
"""
TIMED_TOO_EARLY = """\
            end = self.stamp()
            run()
            return self.between_ms(start, end)
"""
TIMED_BY_THE_HOST = """\
            before = self._cuda.host_ms
            run()
            return self._cuda.host_ms - before
"""
OF_CLOCK = {
    "no wait": ("        end.synchronize()\n", ""),
    "waits for the start alone": ("        end.synchronize()\n", "        start.synchronize()\n"),
    "the start before the cache is emptied": (EMPTIED + STARTED, STARTED + EMPTIED),
    "the end before the run": (TIMED, TIMED_TOO_EARLY),
    "the host's time": (TIMED, TIMED_BY_THE_HOST),
    "an event on another stream": ("event.record()", "event.record(self._cuda.Stream())"),
    "warmed up on the main stream": ("with cuda.stream(side):", "with cuda.stream(cuda.current_stream()):"),
    "the side stream does not wait": ("        side.wait_stream(cuda.current_stream())\n", ""),
    "the main stream does not wait": ("        cuda.current_stream().wait_stream(side)\n", ""),
    "captured cold": ("for _ in range(WARM_UPS):", "for _ in range(0):"),
    "run and not captured": ("with cuda.graph(graph):", "with cuda.stream(side):"),
}
OF_TIMING = {
    "the warm-up is timed": ("_warm_up(run, clock, limit_s / len(runs) / 3)", "pass"),
    "one run to warm up": ("if len(times_ms) >= 6 and", "if times_ms or"),
}
MUTANTS = {name: (clock_module, *change) for name, change in OF_CLOCK.items()}
MUTANTS |= {name: (timing_module, *change) for name, change in OF_TIMING.items()}
"""What could be wrong -> module, a piece of its text, what stands there instead."""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_on_a_device_that_works_by_itself(check):
    check(clock_module, timing_module)


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_timing_code_is_noticed(name):
    module, text, other = MUTANTS[name]
    source = inspect.getsource(module)
    assert source.count(text) == 1
    mutant = ModuleType(module.__name__)
    exec(source.replace(text, other), vars(mutant))
    pair = {clock_module: (mutant, timing_module), timing_module: (clock_module, mutant)}[module]
    failed = []
    for check in CHECKS:
        try:
            check(*pair)
        except (AssertionError, RuntimeError, ZeroDivisionError):
            failed.append(check.__name__)
    assert failed


def test_the_cache_is_emptied_by_twice_its_size():
    clock = CudaClock("cpu", flush=True, cuda=VirtualCuda())
    assert clock._filler is not None
    assert clock._filler.numel() == 200
    clock._filler.fill_(7)
    clock.time_ms(lambda: None)
    assert not clock._filler.any()
    assert CudaClock("cpu", cuda=VirtualCuda())._filler is None


def test_the_cpu_clock_times_one_call():
    calls: list[int] = []
    clock = CpuClock()
    assert clock.time_ms(lambda: calls.append(1)) >= 0
    assert calls == [1]
    assert clock.between_ms(1.5, 2.0) == 500.0
    assert clock.stamp() <= clock.stamp()
    assert isinstance(clock_for(torch.device("cpu")), CpuClock)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("flush", [True, False])
def test_the_cuda_clock_waits_for_the_device(flush):
    product = torch.randn(4096, 4096, device="cuda")
    clock = clock_for("cuda", flush=flush)
    assert isinstance(clock, CudaClock)
    assert clock.time_ms(lambda: [product @ product for _ in range(20)]) > clock.time_ms(lambda: product[:4, :4] + 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_captured_run_computes_the_same_on_the_device():
    product = torch.randn(64, 64, device="cuda")
    result = torch.zeros(64, 64, device="cuda")
    replay = capture(lambda: torch.matmul(product, product, out=result))
    result.zero_()
    replay()
    torch.testing.assert_close(result, product @ product)
