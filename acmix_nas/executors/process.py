"""The executor `process`: worker processes, each with a GPU or a share of the cores."""

import json
import logging
import multiprocessing
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from acmix_nas.errors import AcmixError, StudyError
from acmix_nas.executors import Job, Outcome, Place, Work, read_progress
from acmix_nas.executors._channel import Channel, ProtocolError
from acmix_nas.executors._start import start
from acmix_nas.executors._watchdog import Watchdog, WatchedWorker, fair_share
from acmix_nas.executors._worker import run_ranks, run_worker, write_job
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress

log = logging.getLogger(__name__)

POLL_S = 0.25
DYING_S = 1.0
"""A server that is killed still seems to run for a moment."""
MAX_FAILED_STARTS = 3
"""Workers in a row that may exit before they are ready."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, AcmixError)
"""Errors of reading a malformed message."""


def make(work: Work, places: Sequence[Place]) -> "ProcessExecutor":
    """The executor, with a worker at each place."""
    return ProcessExecutor(work, places)


class PoolWorker(ABC):
    """A worker of a `PoolExecutor`, seen from the driver.

    Attributes:
        place: Threads and GPUs that it has.
        job: The job that it has.
        is_ready: Whether it has loaded its images.
        is_final: Whether its job must not be retried if it is lost.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.job: Job | None = None
        self.is_ready = False
        self.is_final = False

    @abstractmethod
    def begin(self, job: Job) -> None:
        """Sends it a job."""

    @abstractmethod
    def halt(self) -> None:
        """Lets its job stop after its running epoch."""

    @abstractmethod
    def receive(self, on_step: Callable[[int, Progress], None]) -> Iterable[Outcome]:
        """The jobs that ended, by the messages that have arrived."""

    @abstractmethod
    def end(self, error: Exception | None = None) -> str:
        """Kills it; its last epoch is in its checkpoint. Returns why it was lost, by the error of `receive`."""


Worker = TypeVar("Worker", bound=PoolWorker)


class PoolExecutor(ABC, Generic[Worker]):
    """An executor of several workers, which replaces those that it loses.

    Args:
        work: What all jobs share.
        places: One for each worker.

    Attributes:
        lost_by: Errors of `PoolWorker.receive` that say that the worker is lost.
        advice: What to do about workers that end before they can work.
    """

    lost_by: tuple[type[Exception], ...]
    advice: ClassVar[str]

    def __init__(self, work: Work, places: Sequence[Place]) -> None:
        self.workers = len(places)
        self._work = work
        self._places = list(places)
        self._workers: list[Worker] = []
        self._failed_starts = 0
        self._halting = False

    def wait(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Waits a moment for messages of the workers."""
        outcomes: list[Outcome] = []
        for worker in self._ready():
            try:
                for ended in worker.receive(on_step):  # one by one, to keep what ended before an error
                    outcomes.append(ended)
                self._failed_starts = 0 if worker.is_ready else self._failed_starts
            except self.lost_by as error:
                outcomes += self._replace(worker, error)
        return outcomes

    def halt(self) -> None:
        """Lets every job stop after its running epoch."""
        if not self._halting:
            self._halting = True
            for worker in self._workers:
                worker.halt()

    @abstractmethod
    def _start(self, place: Place) -> Worker:
        """A new worker."""

    @abstractmethod
    def _ready(self) -> Sequence[Worker]:
        """Waits a moment for workers that have sent something."""

    def _replace(self, worker: Worker, error: Exception) -> list[Outcome]:
        """Starts a new worker in the place of a lost one; returns the job that was lost with it."""
        reason = worker.end(error)
        log.warning("%s", reason)
        self._failed_starts += not worker.is_ready
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise StudyError(f"workers end before they can work: {reason}. {self.advice}")
        successor = self._workers[self._workers.index(worker)] = self._start(worker.place)
        if worker.job is None:
            return []
        if not worker.is_ready:  # its job was not started
            successor.begin(worker.job)
            return []
        if worker.is_final:
            return [Outcome(job=worker.job, failed=reason)]
        return [Outcome(job=worker.job, lost=reason)]


class ProcessExecutor(PoolExecutor["_Worker"]):
    """The executor of several processes.

    A worker that exits, or sends a malformed message, is replaced; its job is returned as lost. A worker that goes
    beyond a limit of `work` is replaced too; its job is returned as failed.

    Args:
        work: What all jobs share. Without a limit of memory, each worker may use its share of the machine's.
        places: One for each worker.
    """

    lost_by = (EOFError, OSError, ProtocolError)
    advice = "--executor serial shows why."

    def __init__(self, work: Work, places: Sequence[Place]) -> None:
        super().__init__(work, places)
        limits = work.limits
        if limits.memory is None:
            limits = replace(limits, memory=fair_share(len(places)))
        self._watchdog = Watchdog(limits)

    def submit(self, job: Job) -> None:
        """Sends a job to a worker without one."""
        next(worker for worker in self._workers if worker.job is None).begin(job)

    def __enter__(self) -> Self:
        self._watchdog.__enter__()
        for place in self._places:
            self._workers.append(self._start(place))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.__exit__(kind, error, trace)
        for worker in self._workers:
            worker.end()

    def _start(self, place: Place) -> "_Worker":
        return _Worker(self._work, place, self._watchdog)

    def _ready(self) -> list["_Worker"]:
        ready = wait([worker.channel.connection for worker in self._workers], timeout=POLL_S)
        return [worker for worker in self._workers if worker.channel.connection in ready]


class _Worker(PoolWorker):
    def __init__(self, work: Work, place: Place, watchdog: Watchdog) -> None:
        super().__init__(place)
        self._meeting: TemporaryDirectory[str] | None = None
        shared = replace(work, setting=None)  # each worker loads its own images
        for left in reversed(range(MAX_FAILED_STARTS)):
            try:
                self.channel, self._process = self._launch(shared)
                break
            except (EOFError, OSError) as error:  # the server that forks workers was killed, and is started anew
                log.warning("a worker cannot be started: %r", error)
                if not left:
                    raise StudyError(f"no worker can be started: {error!r}. {ProcessExecutor.advice}") from error
                time.sleep(DYING_S)
        self.watched = WatchedWorker(self._process.pid or 0, self._kill)
        self._watchdog = watchdog
        watchdog.add(self.watched)

    def _launch(self, shared: Work) -> tuple[Channel, BaseProcess]:
        """A process and a channel to it alone: one that a failed start has left has another, closed, and exits."""
        environment = {"OMP_NUM_THREADS": str(self.place.threads)}
        if self.place.gpu is not None:
            environment[VISIBLE] = self.place.gpu
        ours, theirs = multiprocessing.Pipe()
        try:
            if self.place.world_size == 1:
                process = start(run_worker, theirs, shared, self.place, daemon=True, environment=environment)
            else:  # this process has children, which a daemon must not have
                self._meeting = TemporaryDirectory(prefix="acmix-ranks-", ignore_cleanup_errors=True)
                args = theirs, shared, self.place, Path(self._meeting.name)
                process = start(run_ranks, *args, daemon=False, environment=environment)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Channel(ours), process

    def begin(self, job: Job) -> None:
        self._set_job(job)
        self._send("job", job=write_job(job))

    def halt(self) -> None:
        self._send("halt")

    def receive(self, on_step: Callable[[int, Progress], None]) -> Iterator[Outcome]:
        for line in self.channel.lines():
            self.watched.silent_s = 0.0
            outcome = self._read(line, on_step)
            if outcome is not None:
                yield outcome

    def end(self, error: Exception | None = None) -> str:
        self._watchdog.remove(self.watched)
        self._kill()
        self._process.join()
        self.channel.close()
        if self._meeting is not None:
            self._meeting.cleanup()
        self.is_final = self.watched.is_final
        code, what = self._process.exitcode, f"the worker {self._process.pid}"
        if self.watched.kill_reason is not None:
            return self.watched.kill_reason
        if isinstance(error, ProtocolError):
            return f"{what} sent a malformed message: {error}"
        if code == -signal.SIGKILL:
            return f"{what} was killed (signal 9); if nobody did that, memory ran out"
        return f"{what} exited with code {code}"

    def _read(self, line: bytes, on_step: Callable[[int, Progress], None]) -> Outcome | None:
        try:
            return self._handle(json.loads(line), on_step)
        except MALFORMED as error:
            if isinstance(error, StudyError):
                raise
            raise ProtocolError(f"{line[:200]!r} ({type(error).__name__}: {error})") from error

    def _handle(self, message: dict[str, Any], on_step: Callable[[int, Progress], None]) -> Outcome | None:
        kind, job = message["kind"], self.job
        if kind == "log":
            log.log(int(message["level"]), "worker %s: %s", self._process.pid, message["text"])
        elif kind == "broken":
            raise StudyError(f"a worker cannot load what it needs: {message['error']}")
        elif kind == "ready":
            self.is_ready = True
            self.watched.is_training = job is not None
        elif kind not in ("step", "halted", "ended"):
            raise ProtocolError(f"a message {kind!r}")
        elif job is None or message.get("number") != job.number:
            raise ProtocolError(f"{kind} of trial {message.get('number')}, which it does not have")
        elif kind == "step":
            progress = read_progress(message["progress"])
            self.watched.earlier_s = progress.earlier
            on_step(job.number, progress)
        elif kind == "halted":
            self._set_job(None)
            return Outcome(job=job)
        else:
            record = TrialRecord.from_dict(message["record"])
            if (record.number, record.arch) != (job.number, job.arch):
                raise ProtocolError(f"the record of another network, {record.arch_id}")
            self._set_job(None)
            return Outcome(job=job, record=record)
        return None

    def _kill(self) -> None:
        """Kills the process and its ranks, which are in its process group and may outlive it."""
        self._process.kill()
        if self.place.world_size > 1:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid or 0, signal.SIGKILL)

    def _set_job(self, job: Job | None) -> None:
        self.job = job
        self.watched.is_training = self.is_ready and job is not None
        self.watched.earlier_s = self.watched.spent_s = self.watched.silent_s = 0.0

    def _send(self, kind: str, **fields: Any) -> None:
        try:
            self.channel.send(kind, **fields)
        except OSError:
            log.debug("a worker is gone; the next receive notices it")
