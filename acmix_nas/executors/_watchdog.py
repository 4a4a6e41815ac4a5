"""A thread that kills workers which go beyond a limit or have sent nothing for an hour, while the driver is busy.

The memory of a process and of the machine is read from Linux's /proc.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from acmix_nas.executors import TrialLimits

CHECK_EVERY_S = 0.1
MAX_INTERVAL_S = 1.0
"""Time between two checks counts up to this, so that no trial is charged for a machine that slept."""
MAX_SILENCE_S = 3600.0
"""A worker that has sent nothing for this long is taken to hang."""
PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup/memory.max")
SHARE = 0.9
"""Fraction of the machine's memory that all workers together may use."""


@dataclass(slots=True)
class WatchedWorker:
    """A worker and its clocks.

    Attributes:
        pid: Process id.
        kill: Kills it.
        is_training: Whether it has loaded its images and has a job.
        earlier_s: Seconds of training of its trial before this job.
        spent_s: Seconds since it got its job.
        silent_s: Seconds since its last message.
        kill_reason: Why it was killed; None if it was not.
        is_final: Whether its job must not be retried.
    """

    pid: int
    kill: Callable[[], None]
    is_training: bool = False
    earlier_s: float = 0.0
    spent_s: float = 0.0
    silent_s: float = 0.0
    kill_reason: str | None = None
    is_final: bool = False


class Watchdog:
    """The thread.

    Args:
        limits: Of each trial; that of memory holds for every worker.
    """

    def __init__(self, limits: TrialLimits) -> None:
        self._limits = limits
        self._watched: list[WatchedWorker] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def add(self, watched: WatchedWorker) -> None:
        """Starts to watch a worker."""
        with self._lock:
            self._watched.append(watched)

    def remove(self, watched: WatchedWorker) -> None:
        """Stops watching a worker, if it is watched, before its process id may be used again."""
        with self._lock:
            self._watched = [other for other in self._watched if other is not watched]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        before_s = time.monotonic()
        while not self._stopped.wait(CHECK_EVERY_S):
            now_s = time.monotonic()
            interval_s, before_s = min(now_s - before_s, MAX_INTERVAL_S), now_s
            with self._lock:
                for watched in self._watched:
                    self._check(watched, interval_s)

    def _check(self, watched: WatchedWorker, interval_s: float) -> None:
        if watched.kill_reason is not None:
            return
        watched.silent_s += interval_s
        if watched.is_training:
            watched.spent_s += interval_s
        self._find_reason(watched)
        if watched.kill_reason is not None:
            watched.kill()

    def _find_reason(self, watched: WatchedWorker) -> None:
        memory, seconds = self._limits.memory, self._limits.seconds
        used = None if memory is None else resident_bytes(watched.pid)
        if memory is not None and used is not None and used > memory:
            watched.is_final = watched.is_training
            watched.kill_reason = (
                f"the worker used {used / 1e9:.2f} GB of memory, more than its {memory / 1e9:.2f} GB (--trial-memory)"
            )
        elif seconds is not None and watched.is_training and watched.earlier_s + watched.spent_s > seconds:
            watched.is_final = True
            watched.kill_reason = f"the trial took longer than its {seconds / 60:g} minutes (--trial-minutes)"
        elif watched.silent_s > MAX_SILENCE_S and watched.is_training:
            watched.kill_reason = f"the worker sent nothing for {MAX_SILENCE_S / 60:g} minutes"


def resident_bytes(pid: int) -> int | None:
    """Bytes of a process and its children in memory or swapped out; None where the system has no /proc.

    Pages of files, as those of a mapped store, do not count: the system drops them when it needs memory.
    """
    try:
        lines = (PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    if "RssAnon" not in sizes:
        return None
    own = 1024 * sum(sizes.get(name, 0) for name in ("RssAnon", "RssShmem", "VmSwap"))
    return own + sum(resident_bytes(child) or 0 for child in _children(pid))


def _children(pid: int) -> list[int]:
    """The processes that a process's first thread started."""
    with suppress(OSError):  # it has just exited
        found = (PROC / str(pid) / "task" / str(pid) / "children").read_text(encoding="utf-8")
        return [int(child) for child in found.split()]
    return []


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
