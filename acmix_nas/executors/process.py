"""The executor `process`: worker processes, each with a GPU or a share of the cores."""

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from acmix_nas.errors import AcmixError, StudyError
from acmix_nas.executors import Job, Outcome, Place, Work, read_progress
from acmix_nas.executors._channel import Channel, ProtocolError
from acmix_nas.executors._distributed import run_ranks
from acmix_nas.executors._memory import fair_share
from acmix_nas.executors._watchdog import Watchdog, WatchedWorker
from acmix_nas.executors._worker import run_worker, write_job
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress

log = logging.getLogger(__name__)

POLL_S = 0.25
MAX_FAILED_STARTS = 3
"""Workers in a row that may exit before they are ready."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, AcmixError)
"""Errors of reading a malformed message."""


def make(work: Work, places: Sequence[Place]) -> "ProcessExecutor":
    """The executor, with a worker at each place."""
    return ProcessExecutor(work, places)


class ProcessExecutor:
    """The executor of several processes.

    A worker that exits, or sends a malformed message, is replaced; its job is returned as lost. A worker that goes
    beyond a limit of `work` is replaced too; its job is returned as failed.

    Args:
        work: What all jobs share. Without a limit of memory, each worker may use its share of the machine's.
        places: One for each worker.
    """

    def __init__(self, work: Work, places: Sequence[Place]) -> None:
        limits = work.limits
        if limits.memory is None:
            limits = replace(limits, memory=fair_share(len(places)))
        self._work = work
        self._places = places
        self._workers: list[_Worker] = []
        self._watchdog = Watchdog(limits)
        self._failed_starts = 0
        self._halting = False
        self.workers = len(places)

    def submit(self, job: Job) -> None:
        """Sends a job to a worker without one."""
        next(worker for worker in self._workers if worker.job is None).begin(job)

    def wait(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Waits a moment for messages of the workers."""
        ready = set(wait([worker.channel.connection for worker in self._workers], timeout=POLL_S))
        outcomes: list[Outcome] = []
        for worker in [worker for worker in self._workers if worker.channel.connection in ready]:
            try:
                for ended in worker.receive(on_step):  # one by one, to keep what ended before an error
                    outcomes.append(ended)
                self._failed_starts = 0 if worker.is_ready else self._failed_starts
            except (EOFError, OSError, ProtocolError) as error:
                outcomes += self._replace(worker, error)
        return outcomes

    def halt(self) -> None:
        """Lets every job stop after its running epoch."""
        if not self._halting:
            self._halting = True
            for worker in self._workers:
                worker.halt()

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
        worker = _Worker(self._work, place)
        self._watchdog.add(worker.watched)
        return worker

    def _replace(self, worker: "_Worker", error: Exception) -> list[Outcome]:
        """Starts a new worker in the place of a lost one; returns the job that was lost with it."""
        self._watchdog.remove(worker.watched)
        worker.end()
        reason = worker.exit_reason(error)
        log.warning("%s", reason)
        self._failed_starts += not worker.is_ready
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise StudyError(f"workers end before they can work: {reason}. --executor serial shows why.")
        successor = self._start(worker.place)
        self._workers[self._workers.index(worker)] = successor
        if worker.job is None:
            return []
        if not worker.is_ready:  # its job was not started
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
        self.channel = Channel(ours)
        context = multiprocessing.get_context("spawn")
        shared = replace(work, setting=None)  # each worker loads its own images
        self._meeting: TemporaryDirectory[str] | None = None
        if place.world_size == 1:
            self._process = context.Process(target=run_worker, args=(theirs, shared, place), daemon=True)
        else:  # this process has children, which a daemon must not have
            self._meeting = TemporaryDirectory(prefix="acmix-ranks-", ignore_cleanup_errors=True)
            args = theirs, shared, place, Path(self._meeting.name)
            self._process = context.Process(target=run_ranks, args=args, daemon=False)
        with environment_variables(_environment_of(place)):
            self._process.start()
        theirs.close()
        self.watched = WatchedWorker(self._process.pid or 0, self._kill)

    def begin(self, job: Job) -> None:
        self._set_job(job)
        self._send("job", job=write_job(job))

    def halt(self) -> None:
        self._send("halt")

    def receive(self, on_step: Callable[[int, Progress], None]) -> Iterator[Outcome]:
        """The jobs that ended, by the messages that have arrived."""
        for line in self.channel.lines():
            self.watched.silent_s = 0.0
            outcome = self._read(line, on_step)
            if outcome is not None:
                yield outcome

    def end(self) -> None:
        """Kills the process if it runs; its last epoch is in its checkpoint."""
        self._kill()
        self._process.join()
        self.channel.close()
        if self._meeting is not None:
            self._meeting.cleanup()

    def exit_reason(self, error: Exception) -> str:
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
            message = json.loads(line)
            kind, number = message["kind"], message.get("number")
            if kind in ("step", "halted", "ended") and (self.job is None or number != self.job.number):
                raise ProtocolError(f"{kind} of trial {number}, which it does not have")
            return self._handle(kind, message, on_step)
        except MALFORMED as error:
            if isinstance(error, StudyError):
                raise
            raise ProtocolError(f"{line[:200]!r} ({type(error).__name__}: {error})") from error

    def _handle(self, kind: str, message: dict[str, Any], on_step: Callable[[int, Progress], None]) -> Outcome | None:
        job = self.job
        if kind == "log":
            log.log(int(message["level"]), "worker %s: %s", self._process.pid, message["text"])
        elif kind == "broken":
            raise StudyError(f"a worker cannot load what it needs: {message['error']}")
        elif kind == "ready":
            self.is_ready = True
            self.watched.is_training = job is not None
        elif kind == "step" and job:
            progress = read_progress(message["progress"])
            self.watched.earlier_s = progress.earlier
            on_step(job.number, progress)
        elif kind == "halted" and job:
            self._set_job(None)
            return Outcome(job=job)
        elif kind == "ended" and job:
            record = TrialRecord.from_dict(message["record"])
            if (record.number, record.arch) != (job.number, job.arch):
                raise ProtocolError(f"the record of another network, {record.arch_id}")
            self._set_job(None)
            return Outcome(job=job, record=record)
        else:
            raise ProtocolError(f"a message {kind!r}")
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


def _environment_of(place: Place) -> dict[str, str | None]:
    """The environment of a worker: its GPU, and its threads for libraries that read them when they are loaded."""
    return {"OMP_NUM_THREADS": str(place.threads), **({} if place.gpu is None else {VISIBLE: place.gpu})}


@contextmanager
def environment_variables(values: Mapping[str, str | None]) -> Iterator[None]:
    """A block in which environment variables have other values; None unsets one."""
    before = {name: os.environ.get(name) for name in values}
    _set_environment(values)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
