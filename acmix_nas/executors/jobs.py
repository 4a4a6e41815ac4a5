"""What a worker does with a job, in whichever process it is."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from acmix_nas.cost import count
from acmix_nas.executors import Job
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress, ResumeError, Setting, run_trial
from acmix_nas.train.ranks import any_of
from acmix_nas.train.trial import scored_by

log = logging.getLogger(__name__)


class Halted(KeyboardInterrupt):
    """A job stopped after an epoch because it was asked to; nothing of the epoch is lost."""


class Halting:
    """Stops a job at the first step after the epoch in which that was asked for, in all processes that train it."""

    def __init__(self) -> None:
        self.asked = False
        self._was_asked = False
        self._epoch: int | None = None

    def check(self, progress: Progress) -> None:
        """Called after every step.

        Raises:
            Halted: An epoch ended since it was asked for.
        """
        epoch = len(progress.scores)
        if epoch != self._epoch and any_of(self._was_asked):
            raise Halted
        self._epoch, self._was_asked = epoch, self.asked


def run_job(job: Job, setting: Setting, on_step: Callable[[Progress], None]) -> TrialRecord:
    """Trains the network of a job; a checkpoint that cannot be used is thrown away."""
    with suppress(OSError):  # a full disk: then no epoch is kept, and the log says so
        job.checkpoint.parent.mkdir(exist_ok=True)
    for _ in range(2):
        try:
            return run_trial(
                job.arch,
                setting,
                number=job.number,
                label=job.label,
                seeds=job.seeds,
                on_step=on_step,
                checkpoint=job.checkpoint,
                until=job.until,
            )
        except ResumeError as error:
            log.warning("trial %d is trained from its start: %s", job.number, error)
            job.checkpoint.unlink(missing_ok=True)
    raise AssertionError("a training without a checkpoint cannot be refused one")


def failed_record(job: Job, setting: Setting, error: str, *, reached: TrialRecord | None = None) -> TrialRecord:
    """The record of a job that no worker could finish.

    Args:
        job: The job.
        setting: What its study holds fixed.
        error: Why it failed.
        reached: What is known of its trial from before.
    """
    if reached is not None:
        return replace(reached, status="failed", error=error, shared_with=None)
    return TrialRecord(
        number=job.number,
        status="failed",
        arch=job.arch,
        cost=count(job.arch, setting.input_size),
        label=job.label,
        split=setting.split,
        scores=(),
        **scored_by(setting, Progress()),
        losses=(),
        mixing=(),
        seeds=dict(job.seeds),
        budget=setting.budget.to_dict(),
        proxy=setting.proxy.to_dict(),
        data=setting.splits.to_dict(),
        environment=dict(setting.environment),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        error=error,
    )
