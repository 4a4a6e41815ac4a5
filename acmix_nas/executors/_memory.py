"""The memory of a process and of the machine, read from Linux's /proc."""

from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup/memory.max")
SHARE = 0.9
"""Fraction of the machine's memory that all workers together may use."""
OOM_SCORE_ADJ = 500
"""Of 1000; the higher, the earlier Linux kills the process when memory runs out."""


def resident_bytes(pid: int) -> int | None:
    """Bytes of a process and its children in memory or swapped out; None where the system has no /proc.

    Pages of files, as those of a mapped store, do not count: the system drops them when it needs memory.
    """
    own = _own_resident_bytes(pid)
    return None if own is None else own + sum(resident_bytes(child) or 0 for child in _children(pid))


def _children(pid: int) -> list[int]:
    """The processes that a process's first thread started."""
    with suppress(OSError):  # it has just exited
        found = (PROC / str(pid) / "task" / str(pid) / "children").read_text(encoding="utf-8")
        return [int(child) for child in found.split()]
    return []


def _own_resident_bytes(pid: int) -> int | None:
    try:
        lines = (PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    if "RssAnon" not in sizes:
        return None
    return 1024 * sum(sizes.get(name, 0) for name in ("RssAnon", "RssShmem", "VmSwap"))


def fair_share(workers: int) -> int | None:
    """Bytes that each of `workers` workers may use; None where the system has no /proc."""
    try:
        lines = (PROC / "meminfo").read_text(encoding="utf-8").splitlines()
        have = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal"))
    except (OSError, StopIteration):
        return None
    with suppress(OSError, ValueError):  # no control group, or one without a limit
        have = min(have, int(CGROUP.read_text(encoding="utf-8")))
    return int(SHARE * have / workers)


def be_killed_first() -> None:
    """Asks Linux to kill this process before others when memory runs out, so that the driver survives."""
    with suppress(OSError):  # not Linux, or not allowed
        (PROC / "self" / "oom_score_adj").write_text(str(OOM_SCORE_ADJ), encoding="utf-8")
