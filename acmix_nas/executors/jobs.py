"""Trains a job; the same code in every executor."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from acmix_nas.executors import Job
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress, ResumeError, Setting, run_trial
from acmix_nas.train.ranks import any_of
from acmix_nas.train.trial import record_of

log = logging.getLogger(__name__)


class Halted(KeyboardInterrupt):
    """A job was halted at the end of an epoch; the epoch is kept."""


class HaltRequest:
    """Halts a job after the epoch in which `is_set` becomes true, in all ranks that train it."""

    def __init__(self) -> None:
        self.is_set = False
        self._was_set = False
        self._epoch: int | None = None

    def check(self, progress: Progress) -> None:
        """Must be called after every step.

        Raises:
            Halted: An epoch has ended since it was set.
        """
        epoch = len(progress.scores)
        if epoch != self._epoch and any_of(self._was_set):
            raise Halted
        self._epoch, self._was_set = epoch, self.is_set


def run_job(job: Job, setting: Setting, on_step: Callable[[Progress], None]) -> TrialRecord:
    """Trains the network of a job; an unusable checkpoint is deleted."""
    with suppress(OSError):  # on a full disk no epoch is kept, and the log says so
        job.checkpoint.parent.mkdir(exist_ok=True)
    train = partial(
        run_trial,
        job.arch,
        setting,
        number=job.number,
        label=job.label,
        seeds=job.seeds,
        on_step=on_step,
        checkpoint=job.checkpoint,
        until=job.until,
    )
    try:
        return train()
    except ResumeError as error:
        log.warning("trial %d is trained from its start: %s", job.number, error)
        job.checkpoint.unlink(missing_ok=True)
        return train()


def failed_record(job: Job, setting: Setting, error: str, *, reached: TrialRecord | None = None) -> TrialRecord:
    """The record of a job that failed.

    Args:
        job: The job.
        setting: That of its study.
        error: Why it failed.
        reached: The last record of its trial.
    """
    if reached is not None:
        return replace(reached, status="failed", error=error, shared_with=None)
    return record_of(
        job.arch,
        setting,
        Progress(),
        number=job.number,
        label=job.label,
        seeds=job.seeds,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        error=error,
    )
