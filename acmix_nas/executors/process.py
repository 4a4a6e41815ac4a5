"""Trains in processes of their own, one network in each at a time; a GPU, or a share of the cores, for each."""

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from acmix_nas.errors import AcmixError, StudyError
from acmix_nas.executors import Job, Outcome, Place, Work, told
from acmix_nas.executors._channel import GarbageError, Line
from acmix_nas.executors._distributed import conduct
from acmix_nas.executors._memory import fair_share
from acmix_nas.executors._watchdog import Watch, Watched
from acmix_nas.executors._worker import work as worker_main
from acmix_nas.executors._worker import write_job
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress

log = logging.getLogger(__name__)

PATIENCE_S = 0.25
STILLBORN = 3
"""So many workers in a row may die before they are ready."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, AcmixError)
"""What comes of reading values that are not as they should be."""


def make(work: Work, places: Sequence[Place]) -> "Processes":
    """The executor, with a worker at each place."""
    return Processes(work, places)


class Processes:
    """The executor of several processes.

    A worker that dies, or says what makes no sense, is replaced; its job comes back as lost. One that goes beyond a
    limit of `work` is replaced too; its job comes back as failed.

    Args:
        work: What all jobs share. Without a limit of memory, each worker may take its share of the machine's.
        places: One for each worker.
    """

    def __init__(self, work: Work, places: Sequence[Place]) -> None:
        limits = work.limits
        if limits.memory is None:
            limits = replace(limits, memory=fair_share(len(places)))
        self._work = work
        self._places = places
        self._workers: list[_Worker] = []
        self._watch = Watch(limits)
        self._stillborn = 0
        self._halting = False
        self.workers = len(places)

    def submit(self, job: Job) -> None:
        """Hands a job to a worker without one."""
        next(worker for worker in self._workers if worker.job is None).begin(job)

    def wait(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Hears what the workers say for a moment."""
        speaking = set(wait([worker.line.connection for worker in self._workers], timeout=PATIENCE_S))
        outcomes: list[Outcome] = []
        for worker in [worker for worker in self._workers if worker.line.connection in speaking]:
            try:
                for ended in worker.hear(on_step):  # one by one: what ended before an error is kept
                    outcomes.append(ended)
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
        self._watch.__enter__()
        for place in self._places:
            self._workers.append(self._begin(place))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.__exit__(kind, error, trace)
        for worker in self._workers:
            worker.end()

    def _begin(self, place: Place) -> "_Worker":
        worker = _Worker(self._work, place)
        self._watch.add(worker.watched)
        return worker

    def _replace(self, worker: "_Worker", error: Exception) -> list[Outcome]:
        """Puts a new worker in the place of a lost one; the job that was lost with it."""
        self._watch.remove(worker.watched)
        worker.end()
        reason = worker.epitaph(error)
        log.warning("%s", reason)
        self._stillborn += not worker.is_ready
        if self._stillborn >= STILLBORN:
            raise StudyError(f"workers end before they can work: {reason}. --executor serial shows why.")
        successor = self._begin(worker.place)
        self._workers[self._workers.index(worker)] = successor
        if worker.job is None:
            return []
        if not worker.is_ready:  # its job was not begun
            successor.begin(worker.job)
            return []
        if worker.watched.is_final:
            return [Outcome(job=worker.job, failed=reason)]
        return [Outcome(job=worker.job, lost=reason)]


class _Worker:
    """A worker process, seen from the driver."""

    def __init__(self, work: Work, place: Place) -> None:
        self.place = place
        self.job: Job | None = None
        self.is_ready = False
        ours, theirs = multiprocessing.Pipe()
        self.line = Line(ours)
        context = multiprocessing.get_context("spawn")
        shared = replace(work, setting=None)  # each worker loads its own images
        self._meeting: TemporaryDirectory[str] | None = None
        if place.ranks == 1:
            self._process = context.Process(target=worker_main, args=(theirs, shared, place), daemon=True)
        else:  # which has children, as daemons must not have
            self._meeting = TemporaryDirectory(prefix="acmix-ranks-", ignore_cleanup_errors=True)
            met = theirs, shared, place, Path(self._meeting.name)
            self._process = context.Process(target=conduct, args=met, daemon=False)
        with _surroundings(place):
            self._process.start()
        theirs.close()
        self.watched = Watched(self._process.pid or 0, self._kill)

    def begin(self, job: Job) -> None:
        self._set(job)
        self._say("job", job=write_job(job))

    def halt(self) -> None:
        self._say("halt")

    def hear(self, on_step: Callable[[int, Progress], None]) -> Iterator[Outcome]:
        """The jobs that ended, by all it has said since."""
        for message in self.line.arrived():
            self.watched.silent_s = 0.0
            outcome = self._understand(message, on_step)
            if outcome is not None:
                yield outcome

    def end(self) -> None:
        """Kills it, if it lives; what it did last is in its checkpoint."""
        self._kill()
        self._process.join()
        self.line.close()
        if self._meeting is not None:
            self._meeting.cleanup()

    def epitaph(self, error: Exception) -> str:
        code, what = self._process.exitcode, f"the worker {self._process.pid}"
        if self.watched.verdict is not None:
            return self.watched.verdict
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
        except NONSENSE as error:
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
            self.watched.at_work = job is not None
        elif kind == "step" and job:
            progress = told(job.number, said["progress"])
            self.watched.earlier_s = progress.earlier
            on_step(job.number, progress)
        elif kind == "halted" and job:
            self._set(None)
            return Outcome(job=job)
        elif kind == "ended" and job:
            record = TrialRecord.from_dict(said["record"])
            if (record.number, record.arch) != (job.number, job.arch):
                raise GarbageError(f"the record of another network, {record.arch_id}")
            self._set(None)
            return Outcome(job=job, record=record)
        else:
            raise GarbageError(f"a message {kind!r}")
        return None

    def _kill(self) -> None:
        """Kills the process, and its ranks, which are in a group of its number and may live longer."""
        self._process.kill()
        if self.place.ranks > 1:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid or 0, signal.SIGKILL)

    def _set(self, job: Job | None) -> None:
        self.job = job
        self.watched.at_work = self.is_ready and job is not None
        self.watched.earlier_s = self.watched.spent_s = self.watched.silent_s = 0.0

    def _say(self, kind: str, **facts: Any) -> None:
        try:
            self.line.tell(kind, **facts)
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
