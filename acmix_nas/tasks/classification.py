"""One class for each image: cross-entropy, and the share of images whose class is named first."""

from collections.abc import Mapping

import torch
from timm.data import mixup as timm_mixup
from torch import nn
from torch.nn import functional as F

from acmix_nas.data import Indices, Part, Source, Splits, StoredImages, Targets
from acmix_nas.data.draw import seeded
from acmix_nas.metrics import TOP1
from acmix_nas.tasks import Backbone, Mix, Recipe, Task, TaskError


class Classification(Task):
    """Labels are int64 (N,), or shares of the classes (N, classes) where images are mixed."""

    metrics = (TOP1,)

    def check(self, source: Source) -> None:
        """Refuses a source without classes.

        Raises:
            TaskError: It has none.
        """
        if not source.classes:
            fix = "--task segmentation, as its pixels have classes" if source.pixel_classes else "a task that reads it"
            raise TaskError(
                f"classification needs images of classes; {source.name}, read as {source.kind}, has none. Take another "
                f"source, or {fix}."
            )

    def targets(self, part: Part, chosen: Indices, images: torch.Tensor | StoredImages) -> torch.Tensor:
        """The class of each image."""
        return torch.from_numpy(part.labels[chosen])

    def mixes(self, recipe: Recipe, splits: Splits) -> Mix | None:
        """Mixup and cutmix, as the recipe has them."""
        if not (recipe.mixup or recipe.cutmix):
            return None
        return Mixup(recipe.mixup, recipe.cutmix, recipe.label_smoothing, len(splits.classes))

    def build(self, backbone: Backbone, splits: Splits) -> nn.Module:
        """The network's own linear head, with an output for each class."""
        return backbone.classifier(len(splits.classes))

    def loss(self, outputs: torch.Tensor, targets: Targets, recipe: Recipe) -> torch.Tensor:
        """Cross-entropy; mixed targets were smoothed where they were mixed."""
        assert isinstance(targets, torch.Tensor)
        smoothing = 0.0 if targets.is_floating_point() else recipe.label_smoothing
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def tally(self, outputs: torch.Tensor, targets: Targets) -> torch.Tensor:
        """How many images have their class first."""
        assert isinstance(targets, torch.Tensor)
        return (outputs.argmax(1) == targets).sum()[None]

    def scores(self, tally: torch.Tensor, images: int) -> Mapping[str, float]:
        """Top-1 in [0, 1]."""
        return {TOP1.name: int(tally) / images}


class Mixup:
    """Mixup (arXiv 1710.09412) and cutmix (arXiv 1905.04899), timm's, one or the other for each batch.

    Args:
        mixup: alpha of mixup's Beta distribution; 0 for none.
        cutmix: alpha of cutmix's; 0 for none.
        label_smoothing: Share of the target spread over all classes.
        classes: Number of classes.
    """

    def __init__(self, mixup: float, cutmix: float, label_smoothing: float, classes: int) -> None:
        self._mix = timm_mixup.Mixup(mixup, cutmix, label_smoothing=label_smoothing, num_classes=classes)  # type: ignore[no-untyped-call]
        self._smoothing, self._classes = label_smoothing, classes

    def __call__(self, images: torch.Tensor, labels: Targets, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixes in place, in pairs: an odd last image stays. Returns the images and their targets (B, classes)."""
        assert isinstance(labels, torch.Tensor)
        even = len(images) // 2 * 2
        spread = self._smoothing / self._classes
        targets = F.one_hot(labels, self._classes).float() * (1 - self._smoothing) + spread
        if even:
            with seeded(seed):
                images[:even], targets[:even] = self._mix(images[:even], labels[:even])
        return images, targets


TASK = Classification()
