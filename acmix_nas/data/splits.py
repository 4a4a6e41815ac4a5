"""The three disjoint splits of a source: train, search (held out of the training images) and report."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from os import PathLike
from typing import Protocol, TypeAlias

import numpy as np
import torch

from acmix_nas.data.decode import Progress, check_broken, check_memory, decode
from acmix_nas.data.draw import Indices, draw_balanced, draw_held_out
from acmix_nas.data.images import Images, Splits, Targets
from acmix_nas.data.masks import MaskedPart
from acmix_nas.data.pixels import Moments, Pixels, measure_moments, resize
from acmix_nas.data.samples import Samples
from acmix_nas.data.source import Part, Source, first_few
from acmix_nas.data.sources import open_source
from acmix_nas.data.stored import StoredImages
from acmix_nas.errors import DataError
from acmix_nas.sizes import Size, covers, pair, size_of, size_text

SEARCH_SHARE = 6
"""One training image of this many is held out for the search split."""
SEARCH_MOST = 5000
MOST_MASKS = 1000
"""Masks of a split that are read before a training begins."""
EMBEDDED = ("embedded", "scenes")
"""Kinds of the sources that come with the package."""

ReadTargets: TypeAlias = Callable[[Part, Indices, torch.Tensor | StoredImages], Targets]
"""What is to be predicted for images of a part: (part, their places there, the images) -> targets."""


class Reads(Protocol):
    """Says which sources are read, and what is to be predicted for an image: a task."""

    @property
    def own_sizes(self) -> bool:
        """Whether images keep their sizes and come with the class of every pixel."""

    def check(self, source: Source) -> None:
        """Raises an error for a source that it does not read."""

    def classes(self, source: Source) -> tuple[str, ...]:
        """Names of the classes that are to be predicted."""

    @property
    def targets(self) -> ReadTargets:
        """What is to be predicted for images of a part."""


def held_out_size(labels: Indices) -> int:
    """Images of a search split where no number is given: a sixth of all, 5,000 at most, one of each class at least."""
    return max(len(np.unique(labels)), min(SEARCH_MOST, len(labels) // SEARCH_SHARE))


def load_splits(
    source: str | PathLike[str] | None,
    *,
    input_size: Size,
    train_images: int | None,
    seed: int,
    with_report: bool,
    search_images: int | None = None,
    at_most: bool = False,
    like: str | None = None,
    reads: Reads | None = None,
    progress: Progress | None = None,
) -> Splits:
    """Draws the splits of a source and decodes the drawn images.

    The search split depends on the seed alone, never on `train_images`; a larger `train_images` contains the smaller
    one. The draws are stratified by class. Images of a store stay on disk, at the store's size; those
    of a store with fewer pixels than `input_size` are enlarged in memory, and `notes` says so.

    Args:
        source: None for the embedded images, or what `open_source` takes: a folder with train/CLASS/* and val/CLASS/*,
            a store of `acmix data subset`, tar or Parquet files, shards, or a name with a prefix.
        input_size: Height and width in pixels, one number for squares.
        train_images: How many images to train on, equally many of each class as far as possible; None for all.
        seed: Seed of the draws.
        with_report: Whether the report split is read too.
        search_images: Size of the search split; None for a sixth of the source's training images, 5,000 at most, or
            all that the source itself holds out (a store; embedded: 2,000), of which one of each class is the least.
        at_most: Whether a source with fewer than `train_images` gives all it has; else that is an error.
        like: A stored fingerprint; that of the splits is by the rule that it was made by.
        reads: Says which sources are read and what is to be predicted for an image; None for its class.
        progress: Called with (images decoded, images in all).

    Raises:
        DataError: The source is not laid out so, has unreadable files, or has not as many images as asked for.
    """
    if min(pair(input_size)) < 1:
        raise DataError(f"input_size is a number of pixels from 1 up; it is {size_text(input_size)}.")
    if seed < 0:
        raise DataError(f"the seed of a draw is a whole number from 0 up; it is {seed}.")
    opened = open_source(source)
    if reads is not None:
        reads.check(opened)
    train, search = _draw(opened, train_images, search_images, seed, at_most=at_most)
    chosen = [(opened.train, train), (opened.search or opened.train, search)]
    if with_report:
        chosen.append((opened.validation, np.arange(len(opened.validation.labels))))
    targets = _classes if reads is None else reads.targets
    reader = _Reader(input_size, targets, sum(len(indices) for _, indices in chosen), progress)
    if reads is not None and reads.own_sizes:
        images = [_samples(opened.name, part, indices) for part, indices in chosen]
    else:
        images = [reader.read(part, indices) for part, indices in chosen]
    check_broken([f"{path} ({reason})" for path, reason in reader.skipped], reader.total)
    mean, std = getattr(opened.train, "moments", None) or moments_of(images[0].images)
    splits = Splits(
        train=images[0],
        search=images[1],
        report=images[2] if with_report else None,
        name=opened.name,
        fingerprint=opened.fingerprint,
        classes=opened.classes if reads is None else reads.classes(opened),
        in_chans=3 if isinstance(images[0].images, Samples) else images[0].images.shape[1],
        input_size=size_of(input_size),
        mean=mean,
        std=std,
        embedded=opened.kind in EMBEDDED,
        seed=seed,
        skipped=tuple(reader.skipped),
        notes=(*reader.notes, *opened.remarks()),
        former=opened.former,
    )
    return splits.like(like)


def check_shown(splits: Splits) -> Splits:
    """Looks for classes of pixels that are scored and that no training image shows.

    Where there are too many masks to read all of them first, it looks at none; `acmix data describe` does.

    Args:
        splits: What was loaded.

    Returns:
        The splits, with a note where images that were left out of the draw may show the class.

    Raises:
        DataError: All training images are there, and none shows it; the message names class and file.
    """
    train, *scored = [each.images for each in (splits.train, splits.search, splits.report) if each is not None]
    if splits.embedded or not isinstance(train, Samples) or len(train) > MOST_MASKS:
        return splits
    seen, missing = train.shown(), dict[str, str]()
    for samples in scored:
        assert isinstance(samples, Samples)
        for number, index in samples.shown().items() if len(samples) <= MOST_MASKS else ():
            if number not in seen:
                missing.setdefault(splits.classes[number], samples.name(index))
    if not missing:
        return splits
    names, (name, file) = first_few(list(missing)), next(iter(missing.items()))
    searched = splits.search.images
    assert isinstance(searched, Samples)
    others = searched.chosen if searched.part is train.part else train.chosen
    if len(np.union1d(train.chosen, others)) >= len(train.part.labels):
        raise DataError(
            f"each class that is scored needs pixels in the images to train on; {len(missing)} of "
            f"{len(splits.classes)} have none: {names}. {file} has {name}. Add images of it, mark it 255, or "
            "leave such classes out by `acmix data subset --classes shown`."
        )
    return replace(
        splits, notes=(*splits.notes, f"no drawn image to train on shows {len(missing)} of the scored classes: {names}")
    )


def _draw(
    source: Source, train_images: int | None, search_images: int | None, seed: int, *, at_most: bool
) -> tuple[Indices, Indices]:
    """Indices into the train part, and into the search part or, where the source has none, the train part."""
    labels = source.train.labels
    if source.search is not None:
        held = source.search.labels
        size = None if search_images is None else max(search_images, len(np.unique(held)))
        search, rest = draw_balanced(held, size, seed), np.arange(len(labels))
    else:
        search = draw_held_out(labels, held_out_size(labels) if search_images is None else search_images, seed)
        rest = np.setdiff1d(np.arange(len(labels)), search)
    if at_most and train_images:
        train_images = min(train_images, len(rest))
    return rest[draw_balanced(labels[rest], train_images, seed)], search


def moments_of(images: torch.Tensor | StoredImages | Samples) -> Moments:
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""
    return images.moments() if isinstance(images, Samples) else measure_moments(images)


def _samples(name: str, part: Part, chosen: Indices) -> Images:
    """Images of their own sizes, with masks."""
    if not isinstance(part, MaskedPart):
        raise DataError(f"the images of {name} have no class for every pixel; take a source with masks.")
    samples = Samples(part, chosen)
    return Images(images=samples, targets=range(len(samples)))


def _classes(part: Part, chosen: Indices, _images: torch.Tensor | StoredImages) -> torch.Tensor:
    return torch.from_numpy(part.labels[chosen])


@dataclass(slots=True)
class _Reader:
    """Reads images of parts: decodes them, or takes pixels as they are."""

    input_size: Size
    targets: ReadTargets
    total: int
    progress: Progress | None
    done: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def read(self, part: Part, chosen: Indices) -> Images:
        if isinstance(part, Pixels):
            images = self._take(part, chosen)
            return Images(images=images, targets=self.targets(part, chosen, images))
        decoded = decode(part, chosen, input_size=self.input_size, progress=self._advance)
        self.skipped += [(part.name(int(chosen[place])), why) for place, why in sorted(decoded.broken.items())]
        kept = decoded.kept()
        # Where nothing is broken, the images need no second copy.
        images = decoded.images[torch.from_numpy(kept)] if decoded.broken else decoded.images
        return Images(images=images, targets=self.targets(part, chosen[kept], images))

    def _take(self, part: Pixels, chosen: Indices) -> torch.Tensor | StoredImages:
        images, size = part.images, size_of(part.images.shape[-2:])
        is_large = part.stored and covers(size, self.input_size)
        is_whole = len(chosen) == len(images)
        if is_large and is_whole:
            return images
        check_memory(len(chosen), size if is_large else max(size, self.input_size, key=lambda each: prod(pair(each))))
        if not (is_whole and isinstance(images, torch.Tensor)):
            images = images[torch.from_numpy(chosen)]
        if part.stored and not is_large:
            self.notes[
                f"the store has images of {size_text(size)} px; they are enlarged to {size_text(self.input_size)} px"
            ] = None
        return images if is_large else resize(images, self.input_size)

    def _advance(self, more: int) -> None:
        self.done += more
        if self.progress is not None:
            self.progress(self.done, self.total)
