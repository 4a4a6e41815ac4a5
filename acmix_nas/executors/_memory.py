"""What memory a process has, and what the machine has, as Linux tells it."""

from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup/memory.max")
SHARE = 0.9
"""Part of the machine's memory that all workers together may take."""
FIRST_TO_GO = 500
"""Raises a process in the order in which Linux ends some when memory runs out, of 1000."""


def resident(pid: int) -> int | None:
    """Bytes of a process and its children in memory or swapped out; None where the system does not say.

    Pages of files, as those of a mapped store, can be dropped at any time, and do not count.
    """
    own = _resident_alone(pid)
    return None if own is None else own + sum(resident(child) or 0 for child in _children(pid))


def _children(pid: int) -> list[int]:
    """The processes that a process's first thread started."""
    with suppress(OSError):  # it has just ended
        found = (PROC / str(pid) / "task" / str(pid) / "children").read_text(encoding="utf-8")
        return [int(child) for child in found.split()]
    return []


def _resident_alone(pid: int) -> int | None:
    try:
        lines = (PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    if "RssAnon" not in sizes:
        return None
    return 1024 * sum(sizes.get(name, 0) for name in ("RssAnon", "RssShmem", "VmSwap"))


def fair_share(workers: int) -> int | None:
    """Bytes that one of so many workers may take; None where the system does not say."""
    try:
        lines = (PROC / "meminfo").read_text(encoding="utf-8").splitlines()
        have = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal"))
    except (OSError, StopIteration):
        return None
    with suppress(OSError, ValueError):  # no group of processes, or one that may take all
        have = min(have, int(CGROUP.read_text(encoding="utf-8")))
    return int(SHARE * have / workers)


def volunteer() -> None:
    """Lets Linux end this process before others when memory runs out, so that the driver lives."""
    with suppress(OSError):  # not Linux, or not allowed
        (PROC / "self" / "oom_score_adj").write_text(str(FIRST_TO_GO), encoding="utf-8")
