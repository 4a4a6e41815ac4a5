"""Memory: the peak of one run, and the largest batch that fits, halved until it does.

`python -m acmix_nas.cost.memory` measures a peak on the CPU, in a process of its own.
"""

import ctypes
import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from acmix_nas.cost.execution import Execution, Step, conditions, make_images, make_step, prepare
from acmix_nas.cost.network import Network
from acmix_nas.errors import UsageError
from acmix_nas.sizes import Pair

PROC = Path("/proc/self")
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
SHARE = 0.9
"""Of the memory that is free, what a run may take."""
REFUSALS = re.compile(
    r"can't allocate memory|(not enough|out of) memory|bad allocation|bad_alloc|could not create a (primitive|memory)",
    re.IGNORECASE,
)
"""What torch says in a RuntimeError where the system gives it no memory; the last one is oneDNN's."""

Result = TypeVar("Result")


def peak_cpu_mb(network: Network, *, batch_size: int, input_size: Pair, how: Execution) -> float | None:
    """Peak resident memory of one run on the CPU, in a fresh process.

    The highest resident set during the run, less the resident set before the network was built: weights, images, what
    the pass holds at once (with `how.train` gradients too), and what the memory allocator keeps. 1 MB is 10^6 bytes.

    Args:
        network: What to run.
        batch_size: Images in the batch.
        input_size: (height, width) in pixels.
        how: How it is run.

    Returns:
        Megabytes; None where the system keeps no such account (/proc/self/clear_refs), where the process fails, and for
        a compiled network, whose compiler would be counted with it.
    """
    if how.compiled or not (PROC / "clear_refs").exists():
        return None
    asked = {
        "network": network.to_dict(),
        "batch_size": batch_size,
        "input_size": input_size,
        "how": how.to_dict(),
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, "-P", "-m", "acmix_nas.cost.memory"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    answer: float | None = json.loads(done.stdout.splitlines()[-1])
    return answer


def peak_cuda_mb(model: nn.Module, step: Step) -> float:
    """Peak memory of one run on a GPU: the network's tensors, the images and what the run allocates.

    Counted by PyTorch's allocator, without the CUDA context. 1 MB is 10^6 bytes.

    Args:
        model: The network, on the GPU; others may lie beside it.
        step: A run of it.
    """
    device = step.images.device
    for weight in model.parameters():
        weight.grad = None
    own = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers(), step.images])
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with conditions([model], step.how):
        step()
    torch.cuda.synchronize(device)
    return (own + torch.cuda.max_memory_allocated(device) - before) / 1e6


def main() -> None:
    """Reads one JSON object from stdin and writes the peak in megabytes, or null."""
    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    sys.stdout.write(json.dumps(_measure(asked)) + "\n")


def _measure(asked: dict[str, Any]) -> float | None:
    network, how = Network.from_dict(asked["network"]), Execution.from_dict(asked["how"])
    size = (asked["input_size"][0], asked["input_size"][1])
    _load_libraries(how)
    before = _memory_bytes(PROC / "status", "VmRSS")
    model = prepare(network.build(size, features_only=how.features_only), how)
    step = make_step(model, make_images(asked["batch_size"], size, how), how)
    _return_freed_memory()
    try:
        (PROC / "clear_refs").write_text("5")  # sets VmHWM, the peak so far, back to VmRSS: proc(5)
    except OSError:
        return None
    with conditions([model], how):
        step()
    peak = _memory_bytes(PROC / "status", "VmHWM")
    return None if peak is None or before is None else (peak - before) / 1e6


def _load_libraries(how: Execution) -> None:
    """Runs a small convolution and product: threads and kernels that come with the first call are not the network's."""
    small = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 64)).to(how.weights_dtype)
    with conditions([small], how):
        make_step(small, torch.randn(2, 3, 16, 16, dtype=how.weights_dtype), how)()


def _return_freed_memory() -> None:
    """Gives back what building left behind: initialising weights frees large tensors."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def largest_fitting(batch_size: int, attempt: Callable[[int], Result], *, what: str) -> tuple[int, Result]:
    """Halves a batch until an attempt with it does not run out of memory.

    Args:
        batch_size: Images to begin with.
        attempt: Runs with a number of images.
        what: What is run, for the message.

    Returns:
        The batch that fits, and what the attempt returned.

    Raises:
        UsageError: Not even one image fits.
    """
    while True:
        try:
            return batch_size, attempt(batch_size)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        # Outside of the handler the error no longer holds the frames, and with them the tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if batch_size == 1:
            raise UsageError(
                f"{what}: not even one image fits into memory ({reason}). Take a smaller --input-size or network."
            )
        batch_size //= 2


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or bool(REFUSALS.search(str(error)))


@contextmanager
def within_memory(device: torch.device | str) -> Iterator[None]:
    """On the CPU, lets a request beyond the free memory fail instead of letting the system end the process.

    By the limit RLIMIT_DATA, where there are /proc and the module resource; elsewhere it does nothing.

    Args:
        device: Where the work inside runs.
    """
    free, used = free_bytes(), _memory_bytes(PROC / "status", "VmData")
    if torch.device(device).type != "cpu" or free is None or used is None:
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + int(SHARE * free)
    if before[1] != resource.RLIM_INFINITY:
        limit = min(limit, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def free_bytes() -> int | None:
    """Memory that this process could still take, by the system and by its control group; None where neither says."""
    found = [free for free in (_memory_bytes(MEMINFO, "MemAvailable"), _group_bytes()) if free is not None]
    return min(found, default=None)


def _group_bytes() -> int | None:
    try:
        most, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    return None if most == "max" else max(0, int(most) - int(used))


def _memory_bytes(file: Path, field: str) -> int | None:
    """A line of a file of /proc, "VmRSS: 1234 kB"; None where the system has none."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)


if __name__ == "__main__":
    main()
