"""A folder of labelled images: `train/CLASS/*` and a validation folder of the same shape, as ImageNet is laid out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from acmix_nas.data.draw import Indices
from acmix_nas.data.fingerprint import Content, fingerprint, read_file
from acmix_nas.data.formats import open_image
from acmix_nas.data.source import VALIDATION, Source, check_classes, digest
from acmix_nas.data.sources._names import Names, in_order
from acmix_nas.data.sources._parts import (
    TRAIN,
    base_of,
    find_part,
    find_validation,
    has_packed,
    loose_images,
    passed_over,
)
from acmix_nas.data.sources._walk import Found, Walk

LAYOUT = f"a folder with train/CLASS/*.jpg and one of {', '.join(VALIDATION)} of the same shape"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Image files of one part.

    Attributes:
        files: Where they lie.
        labels: Class of each, (N,).
    """

    files: Names
    labels: Indices

    def name(self, index: int) -> str:
        """The path."""
        return str(self.files[index])

    def open(self, index: int) -> Image.Image:
        """The image in the file."""
        return open_image(self.files[index])

    def content(self, root: Path, sizes: Sequence[int]) -> Content:
        """What a fingerprint sees: the files, by their paths below a folder.

        Args:
            root: The folder.
            sizes: Bytes of each file.
        """
        return Content(
            labels=self.labels,
            names=self.files.relative(root),
            sizes=np.array(sizes, dtype=np.int64),
            read=lambda index: read_file(self.files.text(index)),
        )


def matches(spec: str) -> bool:
    """Whether there are a train and a validation folder, and no images outside class folders."""
    root = base_of(Path(spec))
    train, (validation, _) = find_part(root, TRAIN), find_validation(root)
    if train is None or validation is None or has_packed(train):
        return False
    return loose_images(train) is None and loose_images(validation) is None


def open_source(spec: str) -> Source:
    """Lists the images by the rules of timm's reader, so that class numbers agree with timm's training script.

    The class of an image is the name of the folder it lies in; classes are numbered in natural order, "9" before "10".
    The walk is our own because timm's holds a tuple, a string and a sort key for each file, over a gigabyte for
    ImageNet, and follows links without end.

    Raises:
        DataError: A part has no images or images outside a class folder, there are fewer than two classes, a
            validation class has no training images, or links mix classes or parts.
    """
    root = base_of(Path(spec))
    train_folder, (validation_folder, unlabelled) = find_part(root, TRAIN), find_validation(root)
    assert train_folder is not None, "matches() looks for it"
    assert validation_folder is not None, "matches() looks for it"
    walk = Walk(train_folder, validation_folder)
    train, validation = walk.part(train_folder), walk.part(validation_folder)
    classes = tuple(sorted({*train.classes}, key=in_order))
    known = {name: number for number, name in enumerate(classes)}
    check_classes(classes, validation.classes, str(validation_folder))
    listed = [(number(found, known), found.identities.sizes) for found in (train, validation)]
    return Source(
        kind="folder",
        name=Path(spec).resolve().name,
        classes=classes,
        train=listed[0][0],
        validation=listed[1][0],
        fingerprint=fingerprint(classes, [part.content(root, sizes) for part, sizes in listed]),
        former=digest(fact for part, sizes in listed for fact in _facts(part, root, sizes)),
        passed_over=walk.passed_over,
        notes=(*walk.notes, *passed_over(unlabelled)),
    )


def _facts(part: Files, root: Path, sizes: Sequence[int]) -> Iterator[bytes]:
    """How acmix-nas 0.1 identified images: paths below the source, and sizes."""
    for name, size in zip(part.files.relative(root), sizes, strict=True):
        yield b"%s\t%d\n" % (name, size)


def number(found: Found, known: dict[str, int]) -> Files:
    """The images of a walk, with the number of the class of each."""
    numbers = np.array([known[name] for name in found.classes], dtype=np.int64)
    return Files(files=found.files, labels=np.repeat(numbers, found.counts))
