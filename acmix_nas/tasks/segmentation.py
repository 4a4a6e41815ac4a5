"""A class for every pixel: cross-entropy, and the mean intersection over union from one confusion matrix.

A matrix of K x K counts pixels: rows are classes of the truth, columns predictions. Pixels of class 255 are left out.
The mean over classes is that over all with a union, as mmsegmentation has it; `means` has the other definitions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as pixels

from acmix_nas import registry
from acmix_nas.arch import Arch
from acmix_nas.cost import count_dense
from acmix_nas.data import IGNORED, Images, Indices, Part, Samples, Source, Splits, StoredImages, Targets
from acmix_nas.metrics import PERCENT, SCORES, Metric
from acmix_nas.record import Cost, Head
from acmix_nas.segmentor import Coarse, Segmentor, segmentor_on
from acmix_nas.sizes import Pair, Size
from acmix_nas.tasks import Backbone, Recipe, Task, TaskError
from acmix_nas.thumbnails import classes_text, image_text

MIOU = SCORES["miou"]
PIXEL_ACCURACY = Metric("pixel_accuracy", **PERCENT, title="pixel accuracy", noun="accuracy")
MEAN_ACCURACY = Metric("mean_accuracy", **PERCENT, title="mean accuracy", noun="accuracy")

USUAL_HEAD = "semantic_fpn"
AUXILIARY_WEIGHT = 0.4
"""Weight of the auxiliary head's loss."""
MOST_OF_ONE, TRIES = 0.75, 10
"""A crop with a larger share of one class is drawn again, so often."""
LONGEST = 4
"""The longer side of an image that is scored is scaled to at most this many times its shorter one."""
DISTORTION: dict[str, Any] = {
    "brightness": (1 - 32 / 255, 1 + 32 / 255),
    "contrast": (0.5, 1.5),
    "saturation": (0.5, 1.5),
    "hue": (-0.05, 0.05),
    "p": 0.5,
}
"""Ranges of mmsegmentation's distortion, as published networks are trained with."""


class Segmentation(Task):
    """Masks are uint8 (H, W): the class of each pixel, or 255.

    Args:
        head: Name of the head.
    """

    metrics = (MIOU, PIXEL_ACCURACY, MEAN_ACCURACY)
    own_sizes = True
    source = "scenes"
    input_size = 512
    proxies = {"cpu": "dense_cpu", "cuda": "dense_gpu"}  # noqa: RUF012 (as the base class has it)
    embedded = {"epochs": 3, "input_size": 64, "short_side": 64}  # noqa: RUF012
    proxy_recipe = {"label_smoothing": 0.0, "max_shift": 0.0}  # noqa: RUF012

    def __init__(self, head: str = USUAL_HEAD) -> None:
        self._head = head

    def with_head(self, name: str | None) -> Task:
        """The task with a head.

        Raises:
            AcmixError: There is no such head.
        """
        registry.load("heads", name or USUAL_HEAD)
        return Segmentation(name or USUAL_HEAD)

    def head(self, classes: Sequence[str]) -> Head:
        """The head and its classes."""
        return {"name": self._head, "options": {}, "classes": list(classes)}

    def check(self, source: Source) -> None:
        """Refuses a source without masks.

        Raises:
            TaskError: It has none.
        """
        if not source.pixel_classes:
            raise TaskError(
                f"segmentation needs the class of every pixel; {source.name}, read as {source.kind}, has none. Take a "
                "source with masks: `acmix data describe` shows what there is."
            )

    def classes(self, source: Source) -> tuple[str, ...]:
        """The classes of pixels."""
        return source.pixel_classes

    def count(self, arch: Arch, input_size: Size, num_classes: int) -> Cost:
        """What the network costs with its head."""
        return count_dense(arch, self._head, num_classes, input_size)

    def targets(self, part: Part, chosen: Indices, images: torch.Tensor | StoredImages) -> Targets:
        """Masks come with their images.

        Raises:
            TaskError: Images of one size were loaded, which have no masks.
        """
        raise TaskError("segmentation reads images of their own sizes, with masks.")

    def build(self, backbone: Backbone, splits: Splits) -> nn.Module:
        """The network's maps with the head."""
        net = backbone.features()
        return segmentor_on(net, self._head, len(splits.classes), width=backbone.width, img_size=backbone.img_size)

    def loss(self, outputs: Any, targets: Targets, recipe: Recipe) -> torch.Tensor:
        """Cross-entropy over the pixels that count, that of an auxiliary head added with its weight."""
        assert isinstance(targets, torch.Tensor)
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        truth = targets.long()
        scored = (truth != IGNORED).sum().clamp(min=1)
        losses = [
            F.cross_entropy(part, truth, ignore_index=IGNORED, reduction="sum", label_smoothing=recipe.label_smoothing)
            / scored
            for part in parts
        ]
        return losses[0] + sum(AUXILIARY_WEIGHT * loss for loss in losses[1:])

    def scoring(self, model: nn.Module) -> nn.Module:
        """On the CPU the scores as the head gives them: classes are taken from these, not from scores at full size."""
        parameter = next(model.parameters(), None)
        if parameter is None or parameter.device.type != "cpu" or not isinstance(model, Segmentor):
            return model
        return Coarse(model)

    def tally(self, outputs: Any, targets: Targets) -> torch.Tensor:
        """The confusion matrix of some images, (K * K,); scores are brought to each mask's size first."""
        scores = outputs[0] if isinstance(outputs, tuple) else outputs
        classes = scores.shape[1]
        matrix = torch.zeros(classes**2, dtype=torch.int64, device=scores.device)
        for found, mask in zip(classes_of(outputs, targets), targets, strict=True):
            matrix += confusion(found, mask, classes).flatten()
        return matrix

    def scores(self, tally: torch.Tensor, images: int) -> Mapping[str, float]:
        """MIoU over classes with a union, pixel accuracy, and mean accuracy over classes of the truth.

        Raises:
            TaskError: No pixel of the scored images has a class.
        """
        if not int(tally.sum()):
            raise TaskError("no pixel of the scored images has a class: all are 255, so there is nothing to score.")
        found = means(tally.reshape(isqrt(len(tally)), -1))
        return {metric.name: found[metric.name] for metric in self.metrics}

    def by_class(self, tally: torch.Tensor) -> Mapping[str, tuple[float | None, ...]]:
        """Intersection over union of each class; None where there is no union."""
        return {"iou": iou(tally.reshape(isqrt(len(tally)), -1))}

    def pictures(self, outputs: Any, targets: Targets, count: int) -> list[str]:
        """The class that is predicted for each pixel."""
        return [classes_text(each.byte().cpu().numpy()) for each in islice(classes_of(outputs, targets), count)]

    def examples(self, images: Images, count: int) -> list[dict[str, str]]:
        """Images, and the class of each of their pixels."""
        samples = images.images
        assert isinstance(samples, Samples), "images keep their sizes"
        firsts = [samples[index] for index in range(min(count, len(samples)))]
        return [
            {"image": image_text(image.permute(1, 2, 0).numpy()), "truth": classes_text(mask.numpy())}
            for image, mask in firsts
        ]

    def crop(
        self, image: torch.Tensor, target: torch.Tensor, *, size: Pair, recipe: Recipe, fill: Sequence[int], seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scales, crops, mirrors and distorts; a crop with more than 75 % of one class is drawn again, up to 10 times.

        What a crop has beyond its image is of the mean colour and class 255.
        """
        rng = np.random.default_rng(seed)
        factor = 1.0 if recipe.scale is None else float(rng.uniform(*recipe.scale))
        extent = _scaled((image.shape[-2], image.shape[-1]), recipe.short_side, factor)
        if extent != (image.shape[-2], image.shape[-1]):
            image = pixels.resize(image, list(extent), InterpolationMode.BILINEAR, antialias=True)
            target = pixels.resize(target[None], list(extent), InterpolationMode.NEAREST_EXACT)[0]
        below, right = max(0, size[0] - extent[0]), max(0, size[1] - extent[1])
        if below or right:
            filled = torch.tensor(fill, dtype=torch.uint8)[:, None, None]
            larger = filled.repeat(1, extent[0] + below, extent[1] + right)
            larger[:, : extent[0], : extent[1]] = image
            image, target = larger, F.pad(target, (0, right, 0, below), value=IGNORED)
        top, left = _draw_crop(target, size, rng)
        window = (..., slice(top, top + size[0]), slice(left, left + size[1]))
        image, target = image[window], target[window]
        if rng.random() < 0.5:
            image, target = image.flip(-1), target.flip(-1)
        if recipe.photometric:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rng.integers(2**31)))
                image = v2.RandomPhotometricDistort(**DISTORTION)(image)
        return image.contiguous(), target.contiguous()

    def whole(self, image: torch.Tensor, *, recipe: Recipe) -> torch.Tensor:
        """The image with the recipe's shorter side; at its own size without one."""
        own = (image.shape[-2], image.shape[-1])
        extent = _scaled(own, recipe.short_side, 1.0)
        if recipe.short_side is not None and max(extent) > LONGEST * recipe.short_side:
            factor = LONGEST * recipe.short_side / max(extent)
            extent = (max(1, round(extent[0] * factor)), max(1, round(extent[1] * factor)))
        return (
            image if extent == own else pixels.resize(image, list(extent), InterpolationMode.BILINEAR, antialias=True)
        )


def _scaled(own: Pair, short_side: int | None, factor: float) -> Pair:
    """Height and width with a shorter side of this many pixels, times a factor."""
    factor *= 1.0 if short_side is None else short_side / min(own)
    return max(1, round(own[0] * factor)), max(1, round(own[1] * factor))


def _draw_crop(target: torch.Tensor, size: Pair, rng: np.random.Generator) -> Pair:
    """Top and left of a crop."""
    height, width = target.shape
    place = (0, 0)
    for _ in range(TRIES):
        place = (int(rng.integers(height - size[0] + 1)), int(rng.integers(width - size[1] + 1)))
        if (height, width) == size:
            return place
        part = target[place[0] : place[0] + size[0], place[1] : place[1] + size[1]]
        counts = torch.bincount(part.flatten().int(), minlength=IGNORED + 1)[:IGNORED]
        if (counts > 0).sum() > 1 and counts.max() < MOST_OF_ONE * counts.sum():
            return place
    return place


def classes_of(outputs: Any, masks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The class of each pixel of some images, at the sizes of their masks.

    Args:
        outputs: Scores (B, K, H, W) at the size of the images, or what `Coarse` gives.
        masks: B masks (H_i, W_i).
    """
    sizes = [(mask.shape[-2], mask.shape[-1]) for mask in masks]
    if not isinstance(outputs, tuple):
        yield from map(predicted, outputs, sizes)
        return
    for scores, extents, size in zip(*outputs, sizes, strict=True):
        height, width, *whole = extents.tolist()
        if size != (height, width):
            scaled = F.interpolate(scores[None].float(), whole, mode="bilinear", align_corners=False)[0]
            yield predicted(scaled[:, :height, :width], size)
        else:
            yield predicted(scores, size, (whole[0], whole[1]))


def predicted(scores: torch.Tensor, size: Pair, whole: Pair | None = None) -> torch.Tensor:
    """The class of each pixel, (H, W), the scores being brought to these pixels by bilinear interpolation.

    Args:
        scores: (K, h, w) at another size.
        size: H and W.
        whole: Height and width of what the scores are of, if that is more: `size` is its upper left.
    """
    whole = whole or size
    if tuple(scores.shape[-2:]) == whole:
        return scores[..., : size[0], : size[1]].argmax(0)
    if scores.device.type != "cpu":
        scaled = F.interpolate(scores[None].float(), whole, mode="bilinear", align_corners=False)[0]
        return scaled[..., : size[0], : size[1]].argmax(0)
    return torch.from_numpy(_predicted_by_rows(scores.float().permute(1, 2, 0).contiguous().numpy(), size, whole))


def _predicted_by_rows(scores_hwK: npt.NDArray[np.float32], size: Pair, whole: Pair) -> npt.NDArray[np.int64]:
    """`predicted`, a row of pixels at a time, which stays in the core's cache with the scores of all classes."""
    above, below, down = _between(scores_hwK.shape[0], size[0], whole[0])
    left, right, across = _between(scores_hwK.shape[1], size[1], whole[1])
    wide_hWK = np.empty((len(scores_hwK), size[1], scores_hwK.shape[-1]), dtype=np.float32)
    row_WK, found = np.empty_like(wide_hWK[0]), np.empty(size, dtype=np.int64)
    for number, row_wK in enumerate(scores_hwK):
        _mix(row_wK[left], row_wK[right], across[:, None], out=wide_hWK[number])
    for number in range(size[0]):
        _mix(wide_hWK[above[number]], wide_hWK[below[number]], down[number], out=row_WK)
        row_WK.argmax(-1, out=found[number])
    return found


def _between(
    extent: int, count: int, of: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For the first `count` of `of` pixels the two of `extent` places that they lie between, and how far they are."""
    places = ((np.arange(count) + 0.5) * (extent / of) - 0.5).clip(0)
    first = places.astype(np.int64)
    return first, (first + 1).clip(max=extent - 1), (places - first).astype(np.float32)


def _mix(first: Any, second: Any, share: Any, *, out: npt.NDArray[np.float32]) -> None:
    """What lies between two arrays, at a share of the way."""
    np.subtract(second, first, out=out)
    out *= share
    out += first


def confusion(
    predictions: torch.Tensor, truth: torch.Tensor, num_classes: int, columns: int | None = None
) -> torch.Tensor:
    """Pixels of each class of the truth (rows) by what was predicted (columns), int64 (K, columns).

    Args:
        predictions: Classes, integers of any shape below `columns`.
        truth: Classes, or 255, of the same shape.
        num_classes: K.
        columns: Numbers that are predicted; K if None.
    """
    scored, columns = truth != IGNORED, columns or num_classes
    places = truth[scored].long() * columns + predictions[scored].long()
    return torch.bincount(places, minlength=num_classes * columns).reshape(num_classes, columns)


def iou(matrix: torch.Tensor) -> tuple[float | None, ...]:
    """Intersection over union of each class; None where nothing is of it, in truth or prediction.

    Args:
        matrix: (K, K), or (K, K + 1) whose last column counts pixels that were given no class.
    """
    right = matrix.diagonal().double()
    union = matrix[:, : len(matrix)].sum(0) + matrix.sum(1) - matrix.diagonal()
    return tuple(
        None if not whole else part / whole for part, whole in zip(right.tolist(), union.tolist(), strict=True)
    )


def means(matrix: torch.Tensor) -> dict[str, float]:
    """The numbers that a confusion matrix, as of `iou`, is summed up in.

    - miou: mean IoU over classes with a union (mmsegmentation);
    - miou_labelled: over classes that the truth has (detectron2);
    - miou_all: over all classes, 0 for one that is nowhere (the benchmark's own code);
    - pixel_accuracy: share of the pixels that are right;
    - mean_accuracy: mean over classes of the truth of the share of their pixels that are right.

    Without a pixel that is scored all are 0.
    """
    found, labelled = iou(matrix), (matrix.sum(1) > 0).tolist()
    with_union = [value for value in found if value is not None]
    in_truth = [value for value, is_there in zip(found, labelled, strict=True) if is_there and value is not None]
    right, rows = matrix.diagonal().double(), matrix.sum(1).double()
    accuracies = (right[rows > 0] / rows[rows > 0]).tolist()
    return {
        "miou": _mean(with_union),
        "miou_labelled": _mean(in_truth),
        "miou_all": sum(with_union) / len(found),
        "pixel_accuracy": float(right.sum() / rows.sum().clamp(min=1)),
        "mean_accuracy": _mean(accuracies),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


TASK = Segmentation()
