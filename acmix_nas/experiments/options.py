"""The options that experiments share, under the names of the commands' options. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

from acmix_nas.errors import StudyError
from acmix_nas.record import StudyHeader

CLASSIFICATION = "classification"
"""The task of studies that name none."""

RECALLED = ("data", "task", "head", "metric", "seed", "epochs", "proxy", "proxy_images")
"""What a study remembers of its options, so that it can be resumed without saying it again."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """The options of every study; None stands for the default, or, on resuming, for what the study has.

    Attributes:
        out: Folder of study folders.
        study: Name of the study.
        resume: Whether to go on with it.
        data: A source of images, as `acmix_nas.data.open_source` takes it; None for the embedded ones.
        task: What networks learn, as `acmix_nas.tasks.load_task` takes it; None for classification.
        head: The head of a dense task; None for the task's usual one.
        metric: What they are compared in, as `acmix_nas.tasks.pick_metric` takes it; None for the task's first metric.
        seed: Seed of draws, weights and order.
        epochs: Passes over the training images.
        proxy: Name of the space's proxy.
        proxy_images: Training images.
        device: "auto", "cpu" or "cuda".
        storage: URL of the study's database; None for SQLite in its folder.
        command: The command line, which the header of a new study keeps.
    """

    out: Path = Path("reports")
    study: str | None = None
    resume: bool = False
    data: str | None = None
    task: str | None = None
    head: str | None = None
    metric: str | None = None
    seed: int | None = None
    epochs: int | None = None
    proxy: str | None = None
    proxy_images: int | None = None
    device: str = "auto"
    storage: str | None = None
    command: str = ""

    def remembered(self) -> dict[str, Any]:
        """What a study keeps of this."""
        return {name: getattr(self.located(), name) for name in RECALLED}

    def recalled(self, header: StudyHeader) -> Self:
        """The same, with what the study remembers where nothing was said."""
        stored = header.setting("asked")
        unsaid = [name for name in RECALLED if getattr(self, name) is None]
        return replace(self, **{name: stored[name] for name in unsaid if stored.get(name) is not None})

    def of_space(self, task: str | None, head: str | None) -> Self:
        """The same, with the task and head that a space names where nothing was said."""
        return self if self.task is not None else replace(self, task=task, head=self.head or head)

    def located(self) -> Self:
        """The same, with images that are found from any folder: a worker may be in another."""
        if self.data is None:
            return self
        from acmix_nas.data import absolute

        return replace(self, data=absolute(self.data))


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """The options of where networks train.

    Attributes:
        executor: "serial", "process", "ray", or None: by the number of workers.
        workers: Processes on the CPU; with "ray" those of the whole cluster.
        ray_address: Cluster to train on.
        gpus: "all", "none", or numbers with commas between.
        workers_per_gpu: Processes on each GPU.
        gpus_per_trial: GPUs that train each trial together.
        trial_minutes: A trial that trains longer is stopped.
        trial_memory: A trial whose worker takes more bytes is stopped.
    """

    executor: str | None = None
    workers: int | None = None
    ray_address: str | None = None
    gpus: str | None = None
    workers_per_gpu: int = 1
    gpus_per_trial: int = 1
    trial_minutes: float | None = None
    trial_memory: float | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(PlaceOptions):
    """The options of every study that trains with several workers.

    Attributes:
        hours: Stop after this many hours.
    """

    hours: float | None = None


class SaidAgain(Protocol):
    """Options that name what a study has."""

    @property
    def task(self) -> str | None:
        """The task."""

    @property
    def head(self) -> str | None:
        """The head of its networks."""


def check_task(name: str, said: SaidAgain, task: str | None, head: Mapping[str, Any] | None) -> None:
    """Refuses another task or head than the one that is stored.

    Args:
        name: Of the study or trial.
        said: What the user said.
        task: What is stored; None stands for classification.
        head: What is stored of the head.

    Raises:
        StudyError: They differ.
    """
    stored = {"task": task or CLASSIFICATION, "head": None if head is None else head["name"]}
    for option, then in stored.items():
        now = getattr(said, option)
        if now not in (None, then):
            raise StudyError(f"{name} has the {option} {then or 'of its networks'}, not {now}. Leave --{option} out.")
