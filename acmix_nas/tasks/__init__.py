"""Tasks: what networks learn from images. One file each, and a new file is a new task.

A file has `TASK`, an object of a subclass of `Task`. One of a user's own is named by its dotted path, as
my_lab.regression:TASK.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, Protocol, TypeAlias

import torch
from torch import nn

from acmix_nas import plugins, registry
from acmix_nas.data import Indices, Part, Source, Splits, StoredImages, Targets, load_splits
from acmix_nas.errors import AcmixError, UsageError
from acmix_nas.metrics import Metric, find_metric
from acmix_nas.sizes import Pair

FOLDER = "tasks"
DEFAULT = "classification"

Mix: TypeAlias = Callable[[torch.Tensor, Targets, int], tuple[torch.Tensor, Targets]]
"""Mixes the images of a batch (B, C, H, W) with one another, in place: (images, targets, seed) -> (images, targets)."""


class TaskError(AcmixError):
    """A task does not do what is asked, or not on such images."""

    exit_code = 2


class Recipe(Protocol):
    """What a task may read of a training recipe; `acmix_nas.train.Budget` is one."""

    @property
    def label_smoothing(self) -> float:
        """Share of the target spread over all classes."""

    @property
    def mixup(self) -> float:
        """Alpha of mixup's Beta distribution; 0 for none."""

    @property
    def cutmix(self) -> float:
        """Alpha of cutmix's; 0 for none."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that is still to be built.

    Attributes:
        classifier: Builds it with a linear head of this many outputs: (B, C, H, W) -> (B, outputs).
        features: Builds it without a head: (B, C, H, W) -> a list of maps (B, C_i, H_i, W_i), with timm's
            `feature_info`.
    """

    classifier: Callable[[int], nn.Module]
    features: Callable[[], nn.Module]


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Where the images of a batch went, for targets that follow them.

    First a box is cut out and scaled to `size`; then the image moves, and zeros come in; then it is mirrored.

    Attributes:
        boxes: top, left, height, width of the box in stored pixels, (B, 4); None where there is none.
        down: Rows that an image moves down, (B, 1).
        right: Columns that it moves to the right, (B, 1).
        mirrored: Whether it is mirrored left to right, (B, 1).
        size: Height and width in pixels afterwards.
    """

    boxes: torch.Tensor | None
    down: torch.Tensor
    right: torch.Tensor
    mirrored: torch.Tensor
    size: Pair


class Task(ABC):
    """What networks learn: targets, head, loss and scores. It keeps nothing of a training.

    Attributes:
        metrics: The metrics that `scores` returns; the first is the default of a study.
    """

    metrics: ClassVar[tuple[Metric, ...]]

    def check(self, source: Source) -> None:  # noqa: B027 (it may be left as it is)
        """Refuses a source that the task does not read; by default it reads all.

        Raises:
            TaskError: With what is missing.
        """

    @abstractmethod
    def targets(self, part: Part, chosen: Indices, images: torch.Tensor | StoredImages) -> Targets:
        """What is to be predicted for some images.

        Args:
            part: The part of the source that they are from; its `labels` are the classes.
            chosen: Their places there, (N,).
            images: The images, uint8 (N, C, H, W).

        Returns:
            A tensor (N, ...), or a list of N.
        """

    def follow(self, targets: Targets, motion: Motion) -> Targets:
        """The targets of images that were moved; by default targets do not depend on where things are."""
        return targets

    def mixes(self, recipe: Recipe, splits: Splits) -> Mix | None:
        """How images are mixed with one another, None for not at all; by default they cannot be.

        Raises:
            TaskError: The recipe has mixup or cutmix.
        """
        if recipe.mixup or recipe.cutmix:
            raise TaskError("mixup and cutmix mix the labels of classes, which this task has not; set both to 0.")
        return None

    @abstractmethod
    def build(self, backbone: Backbone, splits: Splits) -> nn.Module:
        """The network with the task's head."""

    @abstractmethod
    def loss(self, outputs: torch.Tensor, targets: Targets, recipe: Recipe) -> torch.Tensor:
        """Mean loss of a batch, a scalar.

        Args:
            outputs: Of the network, float32, (B, ...).
            targets: Of the same images, mixed ones where `mixes` made them so.
            recipe: The training recipe.
        """

    @abstractmethod
    def tally(self, outputs: torch.Tensor, targets: Targets) -> torch.Tensor:
        """What scores are made of, for a batch: numbers (K,) that add up over batches and processes."""

    @abstractmethod
    def scores(self, tally: torch.Tensor, images: int) -> Mapping[str, float]:
        """The values of `metrics`, by name, from the summed tallies of this many images."""


def load_task(name: str) -> Task:
    """The task of a name, or of a dotted path in a module of the user's own.

    Raises:
        AcmixError: There is none, or the module may not or cannot be imported (`acmix_nas.plugins`).
    """
    if ":" in name:
        return plugins.load_value(name, Task)  # type: ignore[type-abstract]
    if name not in registry.names(FOLDER):
        raise UsageError(
            f"there is no task {name!r}; there are {', '.join(registry.names(FOLDER))}. One of your own is named by "
            "its dotted path, as my_lab.regression:TASK."
        )
    task: Task = registry.load(FOLDER, name).TASK
    return task


def load_images(task: str, source: str | PathLike[str] | None, **options: Any) -> Splits:
    """`acmix_nas.data.load_splits` with the targets of a task, whose name another process can load it by."""
    return load_splits(source, reads=load_task(task), **options)


def pick_metric(task: Task, name: str | None) -> Metric:
    """The metric that a study looks at.

    Args:
        task: Its task.
        name: One of the task's metrics, or the dotted path of one of the user's own; None for the task's first.

    Raises:
        UsageError: The task is not scored by it.
    """
    if name is None:
        return task.metrics[0]
    known = {metric.name: metric for metric in task.metrics}
    found = known.get(name) or find_metric(name)
    if found.name not in known and found.compute is None:
        raise UsageError(
            f"the task is scored by {', '.join(known)}; {name} is none of them, and no function computes it. Name one "
            "of them, or a Metric of your own with `compute`."
        )
    return found
