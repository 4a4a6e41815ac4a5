"""Masks: the class of every pixel of an image, from files that hold one number a pixel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from acmix_nas.data.draw import Indices
from acmix_nas.data.fingerprint import Content, read_file, size_of
from acmix_nas.data.formats import open_image
from acmix_nas.data.source import Part, Share
from acmix_nas.errors import AcmixError, DataError

IGNORED = 255
"""The class of pixels that are neither trained on nor scored."""
MOST_CLASSES = 255
ONE_NUMBER = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
"""Pillow's modes of images with one number a pixel; a palette's number is that of its colour, as Pascal VOC has it."""
ORIENTATION = 0x0112

Mask: TypeAlias = npt.NDArray[np.uint8]
"""Class of each pixel, (H, W), or `IGNORED`."""


@runtime_checkable
class MaskedPart(Part, Protocol):
    """Images of one part of a source whose every pixel has a class."""

    def mask(self, index: int) -> Mask:
        """The classes of the pixels of an image, (H, W) as the image is seen: upright."""


@dataclass(slots=True, kw_only=True)
class ImageFiles:
    """Images in files, without a class of their own.

    Attributes:
        root: Folder that all files lie in.
        images: Files of the images.
    """

    root: Path
    images: Sequence[Path]

    @property
    def labels(self) -> Indices:
        """0 for each image."""
        return np.zeros(len(self.images), dtype=np.int64)

    def name(self, index: int) -> str:
        """The path of the image."""
        return str(self.images[index])

    def open(self, index: int) -> Image.Image:
        """The image in the file."""
        return open_image(self.images[index])

    def content_of(self, files: Sequence[Path]) -> Content:
        """What a fingerprint sees of some files, by their paths below the root."""
        return Content(
            labels=self.labels,
            names=[str(file.relative_to(self.root)).encode(errors="surrogateescape") for file in files],
            sizes=np.array([size_of(file) for file in files], dtype=np.int64),
            read=lambda index: read_file(files[index]),
        )


@dataclass(slots=True, kw_only=True)
class MaskFiles(ImageFiles):
    """Images with a file of masks for each.

    Attributes:
        masks: Files of their masks.
        numbers: Number in a mask -> class, or `IGNORED`; any other number is an error.
    """

    masks: Sequence[Path]
    numbers: Mapping[int, int]
    _table: npt.NDArray[np.int16] = field(init=False)

    def __post_init__(self) -> None:
        self._table = np.full(max(256, *self.numbers) + 1, -1, dtype=np.int16)
        self._table[list(self.numbers)] = list(self.numbers.values())

    def mask(self, index: int) -> Mask:
        """The classes of its pixels.

        Raises:
            DataError: The file cannot be read, holds colours, is of another size than the image, or has a number that
                is no class's.
        """
        file = self.masks[index]
        found = classes_of(read_numbers(file), self._table, file)
        with self.open(index) as image:
            return turned(found, image, f"{file}", self.name(index))

    def content(self) -> Content:
        """What a fingerprint sees: all files."""
        return self.content_of([*self.images, *self.masks])


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedShare(Share):
    """Some images of a part, with their masks."""

    def mask(self, index: int) -> Mask:
        """The classes of the pixels of an image."""
        part = self.part
        assert isinstance(part, MaskedPart)
        return part.mask(int(self.places[index]))


def coding_of(part: Part) -> Mapping[int, int]:
    """Class -> the number that stands for it in the masks of a part, as predictions of its benchmark are written."""
    inner = part.part if isinstance(part, Share) else part
    if not isinstance(inner, MaskFiles):
        return {number: number for number in range(MOST_CLASSES)}
    return {place: number for number, place in reversed([*inner.numbers.items()]) if place != IGNORED}


def read_numbers(file: Path) -> npt.NDArray[np.int64]:
    """The number of each pixel, (H, W).

    Raises:
        DataError: The file cannot be decoded, or holds colours.
    """
    try:
        with open_image(file) as image:
            mode, numbers = image.mode, np.asarray(image)
    except AcmixError:
        raise
    except Exception as error:  # whatever Pillow raises for a damaged file
        raise DataError(f"the mask {file} cannot be read: {type(error).__name__}: {error}.") from error
    if mode not in ONE_NUMBER:
        raise DataError(
            f"a mask has one number a pixel, the class; {file} has {mode} colours. Write the numbers of the classes as "
            "a grey or palette PNG."
        )
    return numbers.astype(np.int64)


def classes_of(numbers: npt.NDArray[np.int64], table: npt.NDArray[np.int16], where: object) -> Mask:
    """The classes that the numbers of a mask stand for.

    Args:
        numbers: (H, W).
        table: Number -> class, or -1 where the number stands for none.
        where: The file, for messages.

    Raises:
        DataError: A number stands for none.
    """
    known = (numbers >= 0) & (numbers < len(table))
    found = np.where(known, table[np.where(known, numbers, 0)], -1)
    if found.min() < 0:
        wrong = int(numbers[found < 0].max())
        allowed = np.flatnonzero((table >= 0) & (table != IGNORED))
        without = "" if not (table == IGNORED).any() else f", and {_range(np.flatnonzero(table == IGNORED))} unscored"
        raise DataError(
            f"a mask holds the numbers of its source's classes, here {_range(allowed)}{without}; {where} has {wrong} "
            f"in {int((numbers == wrong).sum()):,} pixels. Correct the mask, or the list of classes."
        )
    return found.astype(np.uint8)


def _range(numbers: npt.NDArray[np.int64]) -> str:
    """Numbers in a few words: "0 to 149"."""
    if len(numbers) < 4:
        return " and ".join(map(str, numbers.tolist()))
    gaps = "" if numbers[-1] - numbers[0] + 1 == len(numbers) else " with gaps"
    return f"{numbers[0]} to {numbers[-1]}{gaps}"


def turned(mask: Mask, image: Image.Image, where: str, name: str) -> Mask:
    """A mask as its image is seen: a mask of the stored pixels is turned as EXIF turns the image.

    Raises:
        DataError: It has neither the image's size nor that of its stored pixels.
    """
    orientation, stored = image.getexif().get(ORIENTATION, 1), (image.height, image.width)
    upright = stored[::-1] if orientation in (5, 6, 7, 8) else stored
    if mask.shape == upright:
        return mask
    if mask.shape == stored:
        picture = Image.fromarray(mask)
        picture.getexif()[ORIENTATION] = orientation
        return np.array(ImageOps.exif_transpose(picture))
    raise DataError(
        f"a mask has the size of its image; {where} has {mask.shape[0]} x {mask.shape[1]} pixels, {name} has "
        f"{upright[0]} x {upright[1]}. Write it at the image's size."
    )


def same_numbers(classes: int) -> dict[int, int]:
    """The numbers of masks that hold the classes themselves, from 0, and 255 where nothing is scored."""
    return {**{number: number for number in range(classes)}, IGNORED: IGNORED}


def check_class_count(names: Sequence[str], where: object) -> tuple[str, ...]:
    """Names of classes, as many as a mask can hold.

    Raises:
        DataError: There are fewer than two, or too many.
    """
    if not 2 <= len(names) <= MOST_CLASSES:
        raise DataError(f"the pixels of a source are of 2 to {MOST_CLASSES} classes; {where} has {len(names)}.")
    if len(set(names)) < len(names):
        again = next(name for place, name in enumerate(names) if name in names[:place])
        raise DataError(f"each class has a name of its own; {where} has {again!r} twice.")
    return tuple(names)
