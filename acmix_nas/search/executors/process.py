"""Trains in processes of their own, one network in each at a time; a GPU, or a share of the cores, for each."""

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from acmix_nas.errors import AcmixError, StudyError
from acmix_nas.record import TrialRecord
from acmix_nas.search.executors import Job, Outcome, Place, Told, Work
from acmix_nas.search.executors._worker import work as worker_main
from acmix_nas.search.executors._worker import write_job
from acmix_nas.train import Progress

log = logging.getLogger(__name__)

PATIENCE_S = 0.25
STILLBORN = 3
"""So many workers in a row may die before they are ready."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


def make(work: Work, places: Sequence[Place]) -> "Processes":
    """The executor, with a worker at each place."""
    return Processes(work, places)


class GarbageError(Exception):
    """A worker said something that no worker says."""


class Processes:
    """The executor of several processes.

    A worker that dies, or says what makes no sense, is replaced; its job comes back as lost.

    Args:
        work: What all jobs share.
        places: One for each worker.
    """

    def __init__(self, work: Work, places: Sequence[Place]) -> None:
        self._work = work
        self._places = places
        self._workers: list[_Worker] = []
        self._stillborn = 0
        self._halting = False
        self.workers = len(places)

    def submit(self, job: Job) -> None:
        """Hands a job to a worker without one."""
        next(worker for worker in self._workers if worker.job is None).begin(job)

    def wait(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Hears what the workers say for a moment."""
        speaking = set(wait([worker.connection for worker in self._workers], timeout=PATIENCE_S))
        outcomes = []
        for worker in [worker for worker in self._workers if worker.connection in speaking]:
            try:
                outcomes += [ended for ended in worker.hear(on_step) if ended]
                self._stillborn = 0 if worker.is_ready else self._stillborn
            except (EOFError, OSError, GarbageError) as error:
                outcomes += self._replace(worker, error)
        return outcomes

    def halt(self) -> None:
        """Lets every job stop after its running epoch."""
        if not self._halting:
            self._halting = True
            for worker in self._workers:
                worker.halt()

    def __enter__(self) -> Self:
        self._workers = [_Worker(self._work, place) for place in self._places]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()

    def _replace(self, worker: "_Worker", error: Exception) -> list[Outcome]:
        """Puts a new worker in the place of a lost one; the job that was lost with it."""
        worker.end()
        reason = worker.epitaph(error)
        log.warning("%s", reason)
        self._stillborn += not worker.is_ready
        if self._stillborn >= STILLBORN:
            raise StudyError(f"workers end before they can work: {reason}. --executor serial shows why.")
        self._workers[self._workers.index(worker)] = _Worker(self._work, worker.place)
        return [Outcome(job=worker.job, lost=reason)] if worker.job else []


class _Worker:
    """A worker process, seen from the driver."""

    def __init__(self, work: Work, place: Place) -> None:
        self.place = place
        self.job: Job | None = None
        self.is_ready = False
        self.connection, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        shared = replace(work, setting=None)  # each worker loads its own images
        self._process = context.Process(target=worker_main, args=(theirs, shared, place), daemon=True)
        with _surroundings(place):
            self._process.start()
        theirs.close()

    def begin(self, job: Job) -> None:
        self.job = job
        self._say(kind="job", job=write_job(job))

    def halt(self) -> None:
        self._say(kind="halt")

    def hear(self, on_step: Callable[[int, Progress], None]) -> Iterator[Outcome | None]:
        """Everything it has said since."""
        connection: Connection = self.connection
        while connection.poll():
            yield self._understand(connection.recv_bytes(), on_step)

    def end(self) -> None:
        """Kills it, if it lives; what it did last is in its checkpoint."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self.connection.close()

    def epitaph(self, error: Exception) -> str:
        code, what = self._process.exitcode, f"the worker {self._process.pid}"
        if isinstance(error, GarbageError):
            return f"{what} said what makes no sense: {error}"
        if code == -signal.SIGKILL:
            return f"{what} was killed (signal 9); where nobody did that, memory ran out"
        return f"{what} ended with code {code}"

    def _understand(self, message: bytes, on_step: Callable[[int, Progress], None]) -> Outcome | None:
        try:
            said = json.loads(message)
            kind, about = said["kind"], said.get("number")
            if kind in ("step", "halted", "ended") and (self.job is None or about != self.job.number):
                raise GarbageError(f"{kind} of trial {about}, which it has not")
            return self._take(kind, said, on_step)
        except (ValueError, KeyError, TypeError, AttributeError, AcmixError) as error:
            if isinstance(error, StudyError):
                raise
            raise GarbageError(f"{message[:200]!r} ({type(error).__name__}: {error})") from error

    def _take(self, kind: str, said: dict[str, Any], on_step: Callable[[int, Progress], None]) -> Outcome | None:
        job = self.job
        if kind == "log":
            log.log(int(said["level"]), "worker %s: %s", self._process.pid, said["text"])
        elif kind == "broken":
            raise StudyError(f"a worker cannot load what it needs: {said['error']}")
        elif kind == "ready":
            self.is_ready = True
        elif kind == "step" and job:
            on_step(job.number, Told(number=job.number, **said["progress"]))
        elif kind == "halted" and job:
            self.job = None
            return Outcome(job=job)
        elif kind == "ended" and job:
            record = TrialRecord.from_dict(said["record"])
            if (record.number, record.arch) != (job.number, job.arch):
                raise GarbageError(f"the record of another network, {record.arch_id}")
            self.job = None
            return Outcome(job=job, record=record)
        else:
            raise GarbageError(f"a message {kind!r}")
        return None

    def _say(self, **message: Any) -> None:
        try:
            self.connection.send_bytes(json.dumps(message).encode())
        except OSError:
            log.debug("a worker is gone; it is noticed when it is heard")


@contextmanager
def _surroundings(place: Place) -> Iterator[None]:
    """The environment that a worker starts in: its GPU, and its threads for libraries that read them at start."""
    wanted = {"OMP_NUM_THREADS": str(place.threads), **({} if place.gpu is None else {VISIBLE: place.gpu})}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
