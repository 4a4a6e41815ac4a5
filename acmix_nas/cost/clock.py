"""Clocks: how long a device needs for one run.

What needs a GPU takes `cuda`, the module `torch.cuda` or what stands in for it, so that the order of calls can be
tested without one.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

Run = Callable[[], object]

WARM_UPS = 3
"""Runs on a side stream before a capture: libraries allocate and choose kernels in the first ones."""


class Clock(Protocol):
    """Times runs on one device."""

    def now_s(self) -> float:
        """Wall-clock time in seconds from any start."""

    def time_ms(self, run: Run) -> float:
        """Milliseconds that the device needs for one run."""

    def stamp(self) -> Any:
        """A moment in the device's work."""

    def between_ms(self, start: Any, end: Any) -> float:
        """Milliseconds from one moment to a later one; waits for it."""


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

    def stamp(self) -> float:
        """Now, in seconds."""
        return time.perf_counter()

    def between_ms(self, start: float, end: float) -> float:
        """Milliseconds between two moments."""
        return (end - start) * 1000


class CudaClock:
    """CUDA events around the run, on the current stream.

    Args:
        device: The GPU.
        flush: Whether the second-level cache is emptied before the run. A warm cache flatters small operators, by up to
            40 %: in a network it holds other layers' data.
        cuda: `torch.cuda`.
    """

    def __init__(self, device: torch.device | str = "cuda", *, flush: bool = False, cuda: Any = torch.cuda) -> None:
        self._device = torch.device(device)
        self._cuda = cuda
        size = 2 * cuda.get_device_properties(self._device).L2_cache_size if flush else 0
        self._filler = torch.empty(size, dtype=torch.uint8, device=self._device) if flush else None

    def now_s(self) -> float:
        """Wall-clock time in seconds."""
        return time.perf_counter()

    def time_ms(self, run: Run) -> float:
        """Milliseconds between the events around the run; returns when the device has done it."""
        with self._cuda.device(self._device):
            if self._filler is not None:
                self._filler.zero_()
            start = self.stamp()
            run()
            return self.between_ms(start, self.stamp())

    def stamp(self) -> Any:
        """An event recorded on the current stream."""
        event = self._cuda.Event(enable_timing=True)
        event.record()
        return event

    def between_ms(self, start: Any, end: Any) -> float:
        """Milliseconds between two events; waits for the later one."""
        end.synchronize()
        return float(start.elapsed_time(end))


def clock_for(device: torch.device | str, *, flush: bool = False) -> Clock:
    """The clock of a device."""
    return CudaClock(device, flush=flush) if torch.device(device).type == "cuda" else CpuClock()


def capture(run: Run, device: torch.device | str = "cuda", *, cuda: Any = torch.cuda) -> Run:
    """A CUDA graph of the run: its kernels are launched at once, without Python between them.

    Warmed up on a side stream first, as https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs asks.

    Args:
        run: Work of fixed shapes on fixed tensors, without synchronisation.
        device: The GPU.
        cuda: `torch.cuda`.

    Returns:
        What replays the graph.
    """
    with cuda.device(torch.device(device)):
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(WARM_UPS):
                run()
        cuda.current_stream().wait_stream(side)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            run()
    replay: Run = graph.replay
    return replay
