"""The CUDA path runs on a fake `torch.cuda` that writes down what is asked of it, in order."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from acmix_nas.cost.clock import CpuClock, CudaClock, capture, clock_for


class FakeCuda:
    """Streams, events and graphs as a log; the device's time passes by running."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.time_ms = 0.0
        self.current = "main"

    def work(self, time_ms: float, name: str = "run") -> None:
        self.log.append(f"{name} on {self.current}")
        self.time_ms += time_ms

    @contextmanager
    def device(self, device):
        self.log.append(f"device {device}")
        yield

    def get_device_properties(self, device):
        return SimpleNamespace(L2_cache_size=100)

    def Event(self, *, enable_timing):  # noqa: N802, torch's name
        assert enable_timing
        cuda, event = self, SimpleNamespace(at=None)

        def record():
            event.at = cuda.time_ms
            cuda.log.append("record")

        event.record = record
        event.synchronize = lambda: cuda.log.append("synchronize")
        event.elapsed_time = lambda other: other.at - event.at
        return event

    def Stream(self):  # noqa: N802, torch's name
        return self._stream("side")

    def current_stream(self):
        return self._stream(self.current)

    def _stream(self, name):
        return SimpleNamespace(name=name, wait_stream=lambda other: self.log.append(f"{name} waits for {other.name}"))

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream.name
        yield
        self.current = before

    def CUDAGraph(self):  # noqa: N802, torch's name
        return SimpleNamespace(replay=lambda: self.work(1.0, "replay"))

    @contextmanager
    def graph(self, graph):
        self.log.append("capture begins")
        before, self.current = self.current, "capture"
        yield
        self.current = before
        self.log.append("capture ends")


def test_events_stand_around_the_run_and_the_end_is_waited_for():
    cuda = FakeCuda()
    clock = CudaClock("cpu", cuda=cuda)
    assert clock.time_ms(lambda: cuda.work(2.5)) == 2.5
    assert cuda.log == ["device cpu", "record", "run on main", "record", "synchronize"]


def test_the_cache_is_emptied_before_the_first_event_and_not_timed():
    cuda = FakeCuda()
    clock = CudaClock("cpu", flush=True, cuda=cuda)
    filler = clock._filler
    assert filler is not None
    assert filler.numel() == 200
    filler.fill_(7)
    seen: list[tuple[int, int]] = []
    clock.time_ms(lambda: seen.append((int(filler.sum()), cuda.log.count("record"))))
    assert seen == [(0, 1)]
    assert CudaClock("cpu", cuda=cuda)._filler is None


def test_stamps_are_events():
    cuda = FakeCuda()
    clock = CudaClock("cpu", cuda=cuda)
    start = clock.stamp()
    cuda.work(4.0)
    assert clock.between_ms(start, clock.stamp()) == 4.0
    assert cuda.log[-1] == "synchronize"


def test_a_cuda_graph_is_warmed_up_captured_once_and_replayed():
    cuda = FakeCuda()
    replay = capture(lambda: cuda.work(3.0), "cpu", cuda=cuda)
    assert cuda.log == [
        "device cpu",
        "side waits for main",
        *["run on side"] * 3,
        "main waits for side",
        "capture begins",
        "run on capture",
        "capture ends",
    ]
    replay()
    assert cuda.log[-1] == "replay on main"
    assert CudaClock("cpu", cuda=cuda).time_ms(replay) == 1.0


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
