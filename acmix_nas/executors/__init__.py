"""Executors train the networks that the driver submits; the driver alone accesses the storage.

One file for each: its name is the executor's, and it has `make(work, places) -> Executor`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from acmix_nas import registry
from acmix_nas.arch import Arch
from acmix_nas.data import Splits
from acmix_nas.errors import RecordError
from acmix_nas.fields import COUNT, NUMBER, Origin, Rule, list_of
from acmix_nas.plugins import usable_modules
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress, Setting

FOLDER = "executors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A network to train, or to train on.

    Attributes:
        number: Number of its trial.
        label: Where it came from.
        arch: The network at full size.
        seeds: Of "init" and "order".
        checkpoint: File to go on from if it is there, written after every epoch.
        until: Epoch to stop after; None for all of the budget.
    """

    number: int
    label: str
    arch: Arch
    seeds: Mapping[str, int]
    checkpoint: Path
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: The job.
        record: Its record; None if it was halted, its worker was lost, or it went beyond a limit.
        lost: Why its worker was lost; the job may be retried.
        failed: The limit that it went beyond; it must not be retried.
    """

    job: Job
    record: TrialRecord | None = None
    lost: str | None = None
    failed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLimits:
    """The limits of one trial; None where the user sets none.

    Attributes:
        seconds: Training time, including that before an interrupt.
        memory: Bytes of its worker in memory, without pages of files.
    """

    seconds: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What all jobs of a study share, in values that can be sent to another process.

    Attributes:
        make: Makes the setting of `splits` and `device`.
        device: "cpu" or "cuda".
        load: Loads the images, once in each worker.
        source: Path of the images; None where they come with the package. They are sent to a node without this path.
        plugins: Modules of the user's own that a worker may import (`acmix_nas.plugins`).
        setting: The same with the images loaded, in a process that has loaded them.
        limits: Of each trial.
        folder: The driver's working folder, where no worker looks for modules (`acmix_nas.plugins`).
    """

    make: Callable[..., Setting]
    device: str
    load: Callable[[], Splits]
    source: str | None = None
    plugins: tuple[str, ...] = ()
    setting: Setting | None = None
    limits: TrialLimits = TrialLimits()
    folder: str = field(default_factory=os.getcwd)

    @classmethod
    def of(cls, setting: Setting, *, load: Callable[[], Splits], source: str | None) -> Self:
        """The work of a setting whose images are loaded here; other processes call `load`."""
        make = partial(
            Setting,
            proxy=setting.proxy,
            budget=setting.budget,
            split=setting.split,
            input_size=setting.input_size,
            task=setting.task,
            metric=setting.metric,
        )
        return cls(
            make=make,
            device=setting.device,
            load=load,
            source=source,
            plugins=usable_modules(setting.task, setting.metric, source),
            setting=setting,
        )

    def made(self) -> Setting:
        """The setting, with the images loaded in this process."""
        return self.make(splits=self.load(), device=self.device)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a worker.

    Args:
        threads: Threads of torch.
        gpu: Value of CUDA_VISIBLE_DEVICES; None leaves it.
        gpus: GPUs, or the fraction of one, that a cluster must find for it.
        world_size: Processes of torch.distributed that train each trial together; they share the threads, and have a
            GPU each where there are GPUs.
    """

    threads: int
    gpu: str | None = None
    gpus: float = 0
    world_size: int = 1


class Executor(Protocol):
    """Trains jobs, as many at a time as it has workers."""

    workers: int

    def submit(self, job: Job) -> None:
        """Takes a job while fewer than `workers` are running."""

    def wait(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Waits a moment, calls `on_step` for the steps done, and returns the jobs that ended."""

    def halt(self) -> None:
        """Lets every running job stop after its epoch, with its checkpoint written."""

    def __enter__(self) -> Self:
        """Starts the workers."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the workers, whatever they do."""


def names() -> tuple[str, ...]:
    """The names of the executors."""
    return registry.names(FOLDER)


def make_executor(name: str, work: Work, places: Sequence[Place], *, address: str | None = None) -> Executor:
    """The executor of that name.

    Args:
        name: A file name of this folder, or the dotted path of a module of the user's own.
        work: What all jobs share.
        places: One for each worker.
        address: Where a cluster is, for executors that take one.

    Raises:
        AcmixError: There is no such executor.
    """
    options = {} if address is None else {"address": address}
    made: Any = registry.load(FOLDER, name).make(work, places, **options)
    executor: Executor = made
    return executor


PROGRESS: Mapping[str, Rule] = {
    "scores": list_of(NUMBER),
    **dict.fromkeys(("step", "steps", "epochs"), COUNT),
    "earlier": NUMBER,
}
"""What a worker sends of the progress of its job."""


def write_progress(progress: Progress) -> dict[str, Any]:
    """The progress of a running job in plain values."""
    return {name: getattr(progress, name) for name in PROGRESS}


def read_progress(values: Mapping[str, Any]) -> Progress:
    """The inverse of `write_progress`.

    Args:
        values: The values that a worker sent.

    Raises:
        RecordError: They are no progress.
    """
    return Progress(**Origin("the progress of a worker", RecordError).fields(values, PROGRESS))
