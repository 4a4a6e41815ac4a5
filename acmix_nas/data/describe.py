"""`describe`: what a source has, its images looked at by a seeded sample."""

from dataclasses import dataclass, field
from statistics import median

import numpy as np

from acmix_nas.data.decode import Progress, inspect
from acmix_nas.data.draw import Indices
from acmix_nas.data.masks import IGNORED, MaskedPart
from acmix_nas.data.source import Part, Source, by_number
from acmix_nas.errors import DataError

SAMPLE = 2000
"""Images that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Images of one split.

    Attributes:
        images: How many.
        classes: How many classes have one or more.
        least: Images of the smallest class that has any.
        median: Of the images of those classes.
        most: Images of the largest class.
    """

    images: int
    classes: int
    least: int
    median: float
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Widths or heights in pixels."""

    least: int
    median: float
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What was found.

    Attributes:
        kind: Kind of source.
        name: Its name.
        fingerprint: 16 hexadecimal digits that tell sources apart.
        classes: Names of the classes.
        splits: By name, those that the source itself has.
        sampled: Images that were decoded to see whether they can be; what follows is of these.
        widths: In pixels; None where none can be decoded.
        heights: In pixels; None where none can be decoded.
        formats: File formats, by how many images.
        modes: Pillow's modes of pixels, by how many images.
        traits: How many images are greyscale, CMYK, turned by EXIF and so on.
        broken: (file, reason) of each that cannot be decoded.
        passed_over: How many files are not read, by extension or by why.
        notes: What a user should know of how the source was listed.
        pixels: Class of pixels -> how many pixels are of it in the masks looked at, the most first; empty without
            masks.
        unscored: Pixels of these masks that are of no class.
        misfits: (file, reason) of each mask that does not fit its image or the classes.
    """

    kind: str
    name: str
    fingerprint: str
    classes: tuple[str, ...]
    splits: dict[str, Counts]
    sampled: int
    widths: Extent | None
    heights: Extent | None
    formats: dict[str, int]
    modes: dict[str, int]
    traits: dict[str, int]
    broken: tuple[tuple[str, str], ...]
    passed_over: dict[str, int]
    notes: tuple[str, ...]
    pixels: dict[str, int] = field(default_factory=dict)
    unscored: int = 0
    misfits: tuple[tuple[str, str], ...] = ()


def describe(source: Source, *, sample: int = SAMPLE, seed: int = 0, progress: Progress | None = None) -> Description:
    """Counts the images of a source and decodes a sample of them, with their masks.

    Args:
        source: The source.
        sample: How many images to decode; all of a source that has fewer.
        seed: Seed of the draw.
        progress: Called with (images done, images in all).
    """
    named = {"train": source.train, "search": source.search, "validation": source.validation}
    parts = {name: part for name, part in named.items() if part is not None}
    drawn = _draw([len(part.labels) for part in parts.values()], sample, seed)
    total, done = sum(map(len, drawn)), 0
    seen, broken = [], []
    counts, misfits = np.zeros(256, dtype=np.int64), list[tuple[str, str]]()
    for part, chosen in zip(parts.values(), drawn, strict=True):
        for index, looked in inspect(part, chosen):
            done += 1
            if isinstance(looked, str):
                broken.append((part.name(index), looked))
            else:
                seen.append(looked)
                if source.pixel_classes and isinstance(part, MaskedPart):
                    _count_pixels(part, index, counts, misfits)
            if progress is not None:
                progress(done, total)
    return Description(
        kind=source.kind,
        name=source.name,
        fingerprint=source.fingerprint,
        classes=source.classes or source.pixel_classes,
        splits={name: _count(part) for name, part in parts.items()},
        sampled=total,
        widths=_extent([look.width for look in seen]),
        heights=_extent([look.height for look in seen]),
        formats=by_number([look.format for look in seen]),
        modes=by_number([look.mode for look in seen]),
        traits=by_number([trait for look in seen for trait in look.traits]),
        broken=tuple(broken),
        passed_over=by_number(source.passed_over),
        notes=source.notes,
        pixels=by_number({name: int(counts[place]) for place, name in enumerate(source.pixel_classes)}),
        unscored=int(counts[IGNORED]),
        misfits=tuple(misfits),
    )


def _count_pixels(part: MaskedPart, index: int, counts: Indices, misfits: list[tuple[str, str]]) -> None:
    """Adds the pixels of an image's mask to the counts, or says why it does not fit."""
    try:
        counts += np.bincount(part.mask(index).ravel(), minlength=len(counts))
    except DataError as error:
        misfits.append((part.name(index), str(error)))


def _draw(sizes: list[int], sample: int, seed: int) -> list[Indices]:
    """Indices into each part, ascending, in proportion to the parts' sizes."""
    total = sum(sizes)
    chosen = np.sort(np.random.default_rng(seed).permutation(total)[:sample])
    starts = np.cumsum([0, *sizes])
    return [chosen[(chosen >= start) & (chosen < start + n)] - start for start, n in zip(starts, sizes, strict=False)]


def _count(part: Part) -> Counts:
    counts = np.unique(part.labels, return_counts=True)[1]
    return Counts(
        images=len(part.labels),
        classes=len(counts),
        least=int(counts.min()),
        median=float(np.median(counts)),
        most=int(counts.max()),
    )


def _extent(values: list[int]) -> Extent | None:
    return Extent(least=min(values), median=float(median(values)), most=max(values)) if values else None
