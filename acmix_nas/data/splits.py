"""The three disjoint splits of a source: train, search (held out of the training images) and report."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from acmix_nas.data.decode import decode
from acmix_nas.data.draw import Indices, draw_balanced, draw_held_out
from acmix_nas.data.embedded import load_embedded
from acmix_nas.data.folder import list_folder
from acmix_nas.errors import DataError

SEARCH_SHARE = 6
"""One of so many training images is held out for the search split."""
SEARCH_MOST = 5000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Labelled images.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Disjoint splits of one source.

    Attributes:
        train: Images to train on.
        search: Images of the source's training part that search, pruning and fidelity read.
        report: The source's validation images; None unless asked for.
        name: "fashion_mnist (embedded)", or the name of the folder.
        fingerprint: 16 hexadecimal digits that tell sources apart.
        classes: Names of the classes; the label is the index.
        in_chans: 1 for grey, 3 for RGB.
        input_size: Height and width in pixels.
        mean: Of each channel over the train images, in [0, 1].
        std: Of each channel over the train images, in [0, 1].
        embedded: Whether these are the images that come with the package.
        seed: Seed of the draws.
        skipped: (path, reason) of each file that could not be decoded.
    """

    train: Images
    search: Images
    report: Images | None
    name: str
    fingerprint: str
    classes: tuple[str, ...]
    in_chans: int
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedded: bool
    seed: int
    skipped: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain facts for a record: which source, which draw, how many images."""
        counts = {"train": len(self.train), "search": len(self.search)}
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "num_classes": len(self.classes),
            "counts": counts if self.report is None else {**counts, "report": len(self.report)},
            "in_chans": self.in_chans,
            "input_size": self.input_size,
            "seed": self.seed,
            "skipped": len(self.skipped),
        }


def load_splits(
    source: str | PathLike[str] | None,
    *,
    input_size: int,
    train_images: int | None,
    seed: int,
    with_report: bool,
    search_images: int | None = None,
    at_most: bool = False,
    progress: Progress | None = None,
) -> Splits:
    """Draws the splits of a source and decodes the drawn images.

    The search split depends on the seed alone, never on `train_images`; a larger `train_images` contains the smaller
    one. The draws are stratified by class.

    Args:
        source: None for the embedded images, or a folder with train/CLASS/* and val/CLASS/*.
        input_size: Height and width in pixels.
        train_images: How many images to train on, equally many of each class as far as possible; None for all.
        seed: Seed of the draws.
        with_report: Whether the report split is read too.
        search_images: Size of the search split; None for a sixth of the source's training images, 5,000 at most
            (embedded: all of its 2,000).
        at_most: Whether a source with fewer than `train_images` gives all it has; else that is an error.
        progress: Called with (images decoded, images in all).

    Raises:
        DataError: The source is not laid out so, has unreadable files, or has not as many images as asked for.
    """
    if input_size < 1:
        raise DataError(f"input_size is a number of pixels from 1 up; it is {input_size}.")
    if seed < 0:
        raise DataError(f"the seed of a draw is a whole number from 0 up; it is {seed}.")
    draw = _Draw(train_images, search_images, seed, with_report, at_most)
    if source is None:
        return _load_embedded(input_size, draw)
    return _load_folder(Path(source), input_size, draw, progress)


@dataclass(frozen=True, slots=True)
class _Draw:
    """Which images are drawn; the names are those of `load_splits`."""

    train_images: int | None
    search_images: int | None
    seed: int
    with_report: bool
    at_most: bool

    def train(self, labels: Indices) -> Indices:
        size = self.train_images
        return draw_balanced(labels, None if self.at_most and size and size > len(labels) else size, self.seed)

    def train_and_search(self, labels: Indices, num_classes: int) -> tuple[Indices, Indices]:
        size = self.search_images
        if size is None:
            size = max(num_classes, min(SEARCH_MOST, len(labels) // SEARCH_SHARE))
        search = draw_held_out(labels, size, self.seed)
        rest = np.setdiff1d(np.arange(len(labels)), search)
        return rest[self.train(labels[rest])], search


def _load_embedded(input_size: int, draw: _Draw) -> Splits:
    source = load_embedded()

    def pick(split: str, chosen: Indices) -> Images:
        pixels = torch.from_numpy(source.images[split][chosen]).unsqueeze(1)
        return Images(images=_resize(pixels, input_size), labels=torch.from_numpy(source.labels[split][chosen]))

    train = pick("train", draw.train(source.labels["train"]))
    mean, std = _mean_and_std(train.images)
    return Splits(
        train=train,
        search=pick("search", draw_balanced(source.labels["search"], draw.search_images, draw.seed)),
        report=pick("report", np.arange(len(source.labels["report"]))) if draw.with_report else None,
        name="fashion_mnist (embedded)",
        fingerprint=source.sha256[:16],
        classes=source.classes,
        in_chans=1,
        input_size=input_size,
        mean=mean,
        std=std,
        embedded=True,
        seed=draw.seed,
    )


def _load_folder(root: Path, input_size: int, draw: _Draw, progress: Progress | None) -> Splits:
    listing = list_folder(root)
    train, search = draw.train_and_search(listing.train.labels, len(listing.classes))
    report = np.arange(len(listing.validation.labels) if draw.with_report else 0)
    paths = [listing.train.paths[i] for i in (*train, *search)] + [listing.validation.paths[i] for i in report]
    labels = np.concatenate(
        [listing.train.labels[train], listing.train.labels[search], listing.validation.labels[report]]
    )
    images, broken = decode(paths, input_size=input_size, progress=progress)
    parts = _cut(images, labels, broken, [len(train), len(search), len(report)])
    mean, std = _mean_and_std(parts[0].images)
    return Splits(
        train=parts[0],
        search=parts[1],
        report=parts[2] if draw.with_report else None,
        name=root.resolve().name,
        fingerprint=listing.fingerprint,
        classes=listing.classes,
        in_chans=3,
        input_size=input_size,
        mean=mean,
        std=std,
        embedded=False,
        seed=draw.seed,
        skipped=tuple((str(paths[index]), reason) for index, reason in sorted(broken.items())),
    )


def _cut(images: torch.Tensor, labels: Indices, broken: dict[int, str], sizes: list[int]) -> list[Images]:
    """The decoded images as consecutive parts of these sizes, broken ones left out."""
    parts, start = [], 0
    for size in sizes:
        kept = [index for index in range(start, start + size) if index not in broken]
        whole = len(kept) == size
        pixels = images[start : start + size] if whole else images[kept]  # a slice needs no second copy
        parts.append(Images(images=pixels, labels=torch.from_numpy(labels[kept])))
        start += size
    return parts


def _resize(images: torch.Tensor, size: int) -> torch.Tensor:
    if images.shape[-1] == size:
        return images
    parts = [
        F.interpolate(part.float(), size=(size, size), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
        for part in torch.split(images, 1000)
    ]
    return torch.cat(parts)


def _mean_and_std(images: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    total, squares = torch.zeros(images.shape[1]).double(), torch.zeros(images.shape[1]).double()
    for part in torch.split(images, 64):
        values = part.double() / 255
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
    count = images.numel() / images.shape[1]
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=1 / 255)  # images of one flat colour
    return tuple(mean.tolist()), tuple(std.tolist())
