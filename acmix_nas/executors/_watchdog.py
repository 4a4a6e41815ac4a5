"""Looks after workers beside the driver, which may be busy: ends one that takes too much or has fallen silent."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from acmix_nas.executors import TrialLimits
from acmix_nas.executors._memory import resident

LOOK_EVERY_S = 0.1
LONGEST_TURN_S = 1.0
"""Time between two looks counts up to this: a machine that slept or a driver that was halted charges no trial."""
SILENT_S = 3600.0
"""A worker of which nothing is heard for so long is taken for hung."""


@dataclass(slots=True)
class Watched:
    """A worker, as far as it is watched.

    Attributes:
        pid: Its process.
        kill: Ends it at once.
        at_work: Whether it has loaded its images and has a job.
        earlier_s: Seconds that its trial was in training before.
        spent_s: Seconds that it has had its job.
        silent_s: Seconds since something was heard of it.
        verdict: Why it was ended; None while it was not.
        is_final: Whether its job must not be tried again.
    """

    pid: int
    kill: Callable[[], None]
    at_work: bool = False
    earlier_s: float = 0.0
    spent_s: float = 0.0
    silent_s: float = 0.0
    verdict: str | None = None
    is_final: bool = False


class Watch:
    """A thread that watches over workers.

    Args:
        limits: What a trial may take; memory that any worker may have, if it is given.
    """

    def __init__(self, limits: TrialLimits) -> None:
        self._limits = limits
        self._watched: list[Watched] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def add(self, watched: Watched) -> None:
        """Begins to watch a worker."""
        with self._lock:
            self._watched.append(watched)

    def remove(self, watched: Watched) -> None:
        """Ceases to, before its process number may go to another."""
        with self._lock:
            self._watched.remove(watched)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        before_s = time.monotonic()
        while not self._over.wait(LOOK_EVERY_S):
            now_s = time.monotonic()
            turn_s, before_s = min(now_s - before_s, LONGEST_TURN_S), now_s
            with self._lock:
                for watched in self._watched:
                    self._look(watched, turn_s)

    def _look(self, watched: Watched, turn_s: float) -> None:
        if watched.verdict is not None:
            return
        watched.silent_s += turn_s
        if watched.at_work:
            watched.spent_s += turn_s
        self._judge(watched)
        if watched.verdict is not None:
            watched.kill()

    def _judge(self, watched: Watched) -> None:
        memory, seconds = self._limits.memory, self._limits.seconds
        taken = None if memory is None else resident(watched.pid)
        if memory is not None and taken is not None and taken > memory:
            watched.is_final = watched.at_work
            watched.verdict = (
                f"the worker took {taken / 1e9:.2f} GB of memory, more than its {memory / 1e9:.2f} GB (--trial-memory)"
            )
        elif seconds is not None and watched.at_work and watched.earlier_s + watched.spent_s > seconds:
            watched.is_final = True
            watched.verdict = f"the trial took longer than its {seconds / 60:g} minutes (--trial-minutes)"
        elif watched.silent_s > SILENT_S and watched.at_work:
            watched.verdict = f"the worker said nothing for {SILENT_S / 60:g} minutes"
