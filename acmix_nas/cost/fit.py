"""The largest batch that fits into memory: halved until it does."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from acmix_nas.errors import UsageError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
STATUS = Path("/proc/self/status")
SHARE = 0.9
"""Of the memory that is free, what a run may take."""
REFUSALS = re.compile(
    r"can't allocate memory|(not enough|out of) memory|bad allocation|bad_alloc|could not create a (primitive|memory)",
    re.IGNORECASE,
)
"""What torch says in a RuntimeError where the system gives it no memory; the last one is oneDNN's."""

Result = TypeVar("Result")


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
    free, used = free_bytes(), _data_bytes()
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
    found = [free for free in (_system_bytes(), _group_bytes()) if free is not None]
    return min(found, default=None)


def _system_bytes() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _group_bytes() -> int | None:
    try:
        most, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    return None if most == "max" else max(0, int(most) - int(used))


def _data_bytes() -> int | None:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:")), None)
