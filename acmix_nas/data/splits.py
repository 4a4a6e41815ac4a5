"""The three disjoint splits of a source: train, search (held out of the training images) and report."""

from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Self

import numpy as np
import torch

from acmix_nas.data.decode import Progress, check_broken, check_memory, decode
from acmix_nas.data.draw import Indices, draw_balanced, draw_held_out
from acmix_nas.data.fingerprint import is_former
from acmix_nas.data.open import open_source
from acmix_nas.data.pixels import Pixels, measure_moments, resize
from acmix_nas.data.source import Part, Source
from acmix_nas.data.stored import StoredImages
from acmix_nas.errors import DataError

SEARCH_SHARE = 6
"""One of so many training images is held out for the search split."""
SEARCH_MOST = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Labelled images.

    Attributes:
        images: uint8 (N, C, S, S), in memory or, of a large store, on disk. S is the splits' input size; images of a
            store stay at the store's size, which may be larger.
        labels: int64 (N,).
    """

    images: torch.Tensor | StoredImages
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
        name: "fashion_mnist (embedded)", or the name of the source.
        fingerprint: Tells sources apart by what is in them, as `acmix_nas.data.fingerprint` says.
        classes: Names of the classes; the label is the index.
        in_chans: 1 for grey, 3 for RGB.
        input_size: Height and width in pixels that a network takes.
        mean: Of each channel over the train images (of a store: all of its train images), in [0, 1].
        std: Of each channel over the same images, in [0, 1].
        embedded: Whether these are the images that come with the package.
        seed: Seed of the draws.
        skipped: (path, reason) of each file that could not be decoded.
        notes: What a reader of the results should know of the images.
        former: Fingerprint by the rule of acmix-nas 0.1; "" where `fingerprint` itself is by it.
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
    notes: tuple[str, ...] = ()
    former: str = ""

    def like(self, stored: object) -> Self:
        """These splits with their fingerprint by the rule that a stored one was made by, so that both compare."""
        if isinstance(stored, str) and is_former(stored) and self.former:
            return replace(self, fingerprint=self.former, former="")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain facts for a record: which source, which draw, how many images."""
        counts = {"train": len(self.train), "search": len(self.search)}
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            **({"former": self.former} if self.former else {}),
            "num_classes": len(self.classes),
            "counts": counts if self.report is None else {**counts, "report": len(self.report)},
            "in_chans": self.in_chans,
            "input_size": self.input_size,
            "seed": self.seed,
            "skipped": len(self.skipped),
        }


@dataclass(frozen=True, slots=True)
class Draw:
    """Which images are drawn.

    Attributes:
        train_images: How many images to train on; None for all.
        search_images: Size of the search split; None for `held_out_size`, or all that the source holds out itself.
        seed: Seed of the draws.
        at_most: Whether a source with fewer than `train_images` gives all it has; else that is an error.
    """

    train_images: int | None
    search_images: int | None
    seed: int
    at_most: bool

    def train_and_search(self, source: Source) -> tuple[Indices, Indices]:
        """Indices into the train part, and into the search part or, where the source has none, the train part."""
        labels = source.train.labels
        if source.search is not None:
            held = source.search.labels
            size = None if self.search_images is None else max(self.search_images, len(np.unique(held)))
            return self._train(labels), draw_balanced(held, size, self.seed)
        size = held_out_size(labels) if self.search_images is None else self.search_images
        search = draw_held_out(labels, size, self.seed)
        rest = np.setdiff1d(np.arange(len(labels)), search)
        return rest[self._train(labels[rest])], search

    def _train(self, labels: Indices) -> Indices:
        size = self.train_images
        return draw_balanced(labels, None if self.at_most and size and size > len(labels) else size, self.seed)


def held_out_size(labels: Indices) -> int:
    """Images of a search split where no number is given: a sixth of all, 5,000 at most, one of each class at least."""
    return max(len(np.unique(labels)), min(SEARCH_MOST, len(labels) // SEARCH_SHARE))


def load_splits(
    source: str | PathLike[str] | None,
    *,
    input_size: int,
    train_images: int | None,
    seed: int,
    with_report: bool,
    search_images: int | None = None,
    at_most: bool = False,
    like: str | None = None,
    progress: Progress | None = None,
) -> Splits:
    """Draws the splits of a source and decodes the drawn images.

    The search split depends on the seed alone, never on `train_images`; a larger `train_images` contains the smaller
    one. The draws are stratified by class. Images of a store stay on disk, at the store's size; those
    of a store with fewer pixels than `input_size` are enlarged in memory, and `notes` says so.

    Args:
        source: None for the embedded images, or what `open_source` takes: a folder with train/CLASS/* and val/CLASS/*,
            a store of `acmix data subset`, tar or Parquet files, shards, or a name with a prefix.
        input_size: Height and width in pixels.
        train_images: How many images to train on, equally many of each class as far as possible; None for all.
        seed: Seed of the draws.
        with_report: Whether the report split is read too.
        search_images: Size of the search split; None for a sixth of the source's training images, 5,000 at most, or
            all that the source itself holds out (a store; embedded: 2,000), of which one of each class is the least.
        at_most: Whether a source with fewer than `train_images` gives all it has; else that is an error.
        like: A stored fingerprint; that of the splits is by the rule that it was made by.
        progress: Called with (images decoded, images in all).

    Raises:
        DataError: The source is not laid out so, has unreadable files, or has not as many images as asked for.
    """
    if input_size < 1:
        raise DataError(f"input_size is a number of pixels from 1 up; it is {input_size}.")
    if seed < 0:
        raise DataError(f"the seed of a draw is a whole number from 0 up; it is {seed}.")
    opened = open_source(source)
    train, search = Draw(train_images, search_images, seed, at_most).train_and_search(opened)
    chosen = [(opened.train, train), (opened.search or opened.train, search)]
    if with_report:
        chosen.append((opened.validation, np.arange(len(opened.validation.labels))))
    reader = _Reader(input_size, sum(len(indices) for _, indices in chosen), progress)
    images = [reader.read(part, indices) for part, indices in chosen]
    check_broken([f"{path} ({reason})" for path, reason in reader.skipped], reader.total)
    mean, std = getattr(opened.train, "moments", None) or measure_moments(images[0].images)
    splits = Splits(
        train=images[0],
        search=images[1],
        report=images[2] if with_report else None,
        name=opened.name,
        fingerprint=opened.fingerprint,
        classes=opened.classes,
        in_chans=images[0].images.shape[1],
        input_size=input_size,
        mean=mean,
        std=std,
        embedded=opened.kind == "embedded",
        seed=seed,
        skipped=tuple(reader.skipped),
        notes=(*reader.notes, *opened.remarks()),
        former=opened.former,
    )
    return splits.like(like)


class _Reader:
    """Reads images of parts: decodes them, or takes pixels as they are."""

    def __init__(self, input_size: int, total: int, progress: Progress | None) -> None:
        self.input_size = input_size
        self.total = total
        self.done = 0
        self.progress = progress
        self.skipped: list[tuple[str, str]] = []
        self.notes: dict[str, None] = {}

    def read(self, part: Part, chosen: Indices) -> Images:
        if isinstance(part, Pixels):
            return Images(images=self._take(part, chosen), labels=torch.from_numpy(part.labels[chosen]))
        decoded = decode(part, chosen, input_size=self.input_size, progress=self._advance)
        self.skipped += [(part.name(int(chosen[place])), why) for place, why in sorted(decoded.broken.items())]
        kept = decoded.kept()
        # Where nothing is broken, the images need no second copy.
        images = decoded.images[torch.from_numpy(kept)] if decoded.broken else decoded.images
        return Images(images=images, labels=torch.from_numpy(part.labels[chosen[kept]]))

    def _take(self, part: Pixels, chosen: Indices) -> torch.Tensor | StoredImages:
        images, size = part.images, part.images.shape[-1]
        keeps_size = part.stored and size >= self.input_size
        is_whole = len(chosen) == len(images)
        if keeps_size and is_whole:
            return images
        check_memory(len(chosen), max(size, self.input_size))
        if not (is_whole and isinstance(images, torch.Tensor)):
            images = images[torch.from_numpy(chosen)]
        if part.stored and size < self.input_size:
            self.notes[f"the store has images of {size} px; they are enlarged to {self.input_size} px"] = None
        return images if keeps_size else resize(images, self.input_size)

    def _advance(self, more: int) -> None:
        self.done += more
        if self.progress is not None:
            self.progress(self.done, self.total)
