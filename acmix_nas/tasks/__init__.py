"""Tasks: what networks learn from images. One file each, and a new file is a new task.

A file has `TASK`, an object of a subclass of `Task`. One of a user's own is named by its dotted path, as
my_lab.regression:TASK.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, Protocol, TypeAlias

import torch
from torch import nn

from acmix_nas import plugins, registry
from acmix_nas.arch import Arch
from acmix_nas.cost import count
from acmix_nas.data import Images, Indices, Part, Source, Splits, StoredImages, Targets, load_splits
from acmix_nas.errors import AcmixError, UsageError
from acmix_nas.metrics import Metric, find_metric
from acmix_nas.record import Cost, Head
from acmix_nas.sizes import Pair, Size

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

    @property
    def scale(self) -> tuple[float, float] | None:
        """Smallest and largest factor that an image of its own size is scaled by before it is cropped; None for 1."""

    @property
    def short_side(self) -> int | None:
        """Pixels of the shorter side that such images are scaled to first; None for their own."""

    @property
    def photometric(self) -> bool:
        """Whether brightness, contrast, saturation and hue of such images are distorted."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that is still to be built.

    Attributes:
        classifier: Builds it with a linear head of this many outputs: (B, C, H, W) -> (B, outputs).
        features: Builds it without a head: (B, C, H, W) -> a list of maps (B, C_i, H_i, W_i), with timm's
            `feature_info`.
        width: Factor on the widths of the full network; a head is as much narrower.
        img_size: Height and width in pixels that it is built for; None for its usual size.
    """

    classifier: Callable[[int], nn.Module]
    features: Callable[[], nn.Module]
    width: float = 1.0
    img_size: Size | None = None


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
        own_sizes: Whether images keep their sizes, each with the class of every pixel (`acmix_nas.data.Samples`).
        source: What is learned from where no images are named; None for the embedded ones.
        input_size: Height and width in pixels that costs are counted at; None for what the space says.
        proxies: Device -> the proxy of a space that is taken where none is named.
        proxy_recipe: Fields of the training recipe that a proxy's training has in this task.
        embedded: What a recipe of full training would not mean for the embedded images.
    """

    metrics: ClassVar[tuple[Metric, ...]]
    own_sizes: ClassVar[bool] = False
    source: ClassVar[str | None] = None
    input_size: ClassVar[Size | None] = None
    proxies: ClassVar[Mapping[str, str]] = {"cpu": "cpu", "cuda": "gpu"}
    proxy_recipe: ClassVar[Mapping[str, Any]] = {}
    embedded: ClassVar[Mapping[str, Any]] = {"epochs": 3, "input_size": 28}

    def with_head(self, name: str | None) -> "Task":
        """The task with a head of `acmix_nas.heads`, or of the user's own; with None the usual one.

        Raises:
            UsageError: The task's networks have a head of their own, so none can be named.
        """
        if name is not None:
            raise UsageError("--head is the head of a dense task; networks of this task have one of their own.")
        return self

    def head(self, classes: Sequence[str]) -> Head | None:
        """What a record says of the head; None of one that every network has by itself."""
        return None

    def classes(self, source: Source) -> tuple[str, ...]:
        """Names of the classes that are to be predicted."""
        return source.classes

    def count(self, arch: Arch, input_size: Size, num_classes: int) -> Cost:
        """What a full network costs, with its head.

        Args:
            arch: The network.
            input_size: Height and width in pixels that is counted at.
            num_classes: Classes of the images; a classifier is counted with 1,000 whatever they are.
        """
        return count(arch, input_size)

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

    def scoring(self, model: nn.Module) -> nn.Module:
        """What of a network gives the outputs of `tally`; by default it does itself.

        A metric of a user's own always gets the network's own outputs.
        """
        return model

    @abstractmethod
    def tally(self, outputs: Any, targets: Targets) -> torch.Tensor:
        """What scores are made of, for a batch: numbers (K,) that add up over batches and processes."""

    @abstractmethod
    def scores(self, tally: torch.Tensor, images: int) -> Mapping[str, float]:
        """The values of `metrics`, by name, from the summed tallies of this many images."""

    def by_class(self, tally: torch.Tensor) -> Mapping[str, tuple[float | None, ...]]:
        """Name of a score -> its value for each class, None for one that says nothing; by default there is none."""
        return {}

    def pictures(self, outputs: Any, targets: Targets, count: int) -> list[str]:
        """Pictures of what is predicted for the first images of a batch, as texts; by default there are none."""
        return []

    def examples(self, images: Images, count: int) -> list[dict[str, str]]:
        """The first images with their truth, as texts "image" and "truth"; by default there are none."""
        return []

    def crop(
        self, image: torch.Tensor, target: torch.Tensor, *, size: Pair, recipe: Recipe, fill: Sequence[int], seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A sample as it is trained on; needed where images keep their sizes.

        Args:
            image: uint8 (C, H, W).
            target: uint8 (H, W).
            size: Height and width in pixels of the result.
            recipe: Says how it is changed.
            fill: Value of each channel where there is no image.
            seed: Of all that is random.

        Raises:
            TaskError: The task keeps images at their sizes and does not say how they are cropped.
        """
        raise TaskError(
            f"{type(self).__name__} keeps images at their own sizes (own_sizes) and has no method crop, which makes "
            "samples of one size; add it."
        )

    def whole(self, image: torch.Tensor, *, recipe: Recipe) -> torch.Tensor:
        """An image as it is scored, uint8 (C, H, W); by default as it is."""
        return image


def load_task(name: str, head: str | None = None) -> Task:
    """The task of a name, or of a dotted path in a module of the user's own.

    Args:
        name: The name.
        head: That of the head on the networks' maps, for a task that has such heads; None for its usual one.

    Raises:
        AcmixError: There is none, or the module may not or cannot be imported (`acmix_nas.plugins`).
        UsageError: The task takes no such head.
    """
    if ":" in name:
        own = plugins.load_value(name, Task)  # type: ignore[type-abstract]
        return own.with_head(head)
    if name not in registry.names(FOLDER):
        raise UsageError(
            f"there is no task {name!r}; there are {', '.join(registry.names(FOLDER))}. One of your own is named by "
            "its dotted path, as my_lab.regression:TASK."
        )
    task: Task = registry.load(FOLDER, name).TASK
    return task.with_head(head)


def load_images(task: str, source: str | PathLike[str] | None, **options: Any) -> Splits:
    """`acmix_nas.data.load_splits` with the targets of a task, whose name another process can load it by."""
    reads = load_task(task)
    return load_splits(reads.source if source is None else source, reads=reads, **options)


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
