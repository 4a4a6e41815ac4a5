"""The executor `serial`: trains in this process, one network at a time."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import torch

from acmix_nas.errors import UsageError
from acmix_nas.executors import Job, Outcome, Place, TrialLimits, Work
from acmix_nas.executors.jobs import Halted, HaltRequest, run_job
from acmix_nas.train import Progress, Setting


def make(work: Work, places: Sequence[Place]) -> "SerialExecutor":
    """The executor, for one place.

    Raises:
        UsageError: As `check`.
    """
    check(places, work.limits)
    return SerialExecutor(work.setting or work.made(), places[0])


def check(places: Sequence[Place], limits: TrialLimits) -> None:
    """Checks that this process is enough.

    Raises:
        UsageError: There are more places than one, or trials are limited: no watchdog watches this process.
    """
    if limits != TrialLimits():
        raise UsageError("--trial-minutes and --trial-memory need a worker process; choose --executor process.")
    if len(places) != 1:
        raise UsageError(f"the executor serial has one worker, not {len(places)}; choose --executor process.")
    if places[0].world_size != 1:
        raise UsageError("the executor serial is one process, on one GPU; for several choose --executor process.")


class SerialExecutor:
    """The executor of one process.

    Args:
        setting: What all jobs share.
        place: Its threads; those of torch if None.
    """

    workers = 1

    def __init__(self, setting: Setting, place: Place | None = None) -> None:
        self._setting = setting
        self._threads = place.threads if place else torch.get_num_threads()
        self._queue: list[Job] = []
        self._halt_request = HaltRequest()

    def submit(self, job: Job) -> None:
        """Queues a job."""
        self._queue.append(job)

    def wait(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Trains the submitted job."""
        job = self._queue.pop()

        def step(progress: Progress) -> None:
            on_step(job.number, progress)
            self._halt_request.check(progress)

        try:
            return [Outcome(job=job, record=run_job(job, self._setting, step))]
        except Halted:
            return [Outcome(job=job)]

    def halt(self) -> None:
        """Lets the job stop after its running epoch."""
        self._halt_request.is_set = True

    def __enter__(self) -> Self:
        torch.set_num_threads(self._threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to stop."""
