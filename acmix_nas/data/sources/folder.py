"""A folder of labelled images: `train/CLASS/*` and a validation folder of the same shape, as ImageNet is laid out."""

from collections.abc import Iterator
from pathlib import Path

from acmix_nas.data.source import VALIDATION, Source, check_classes, digest
from acmix_nas.data.sources._parts import both_parts, loose_images
from acmix_nas.data.sources._walk import Walk

LAYOUT = f"a folder with train/CLASS/*.jpg and one of {', '.join(VALIDATION)} of the same shape"


def matches(spec: str) -> bool:
    """Whether there are a train and a validation folder, and no images outside class folders."""
    parts = both_parts(Path(spec))
    return parts is not None and loose_images(parts.validation) is None


def open_source(spec: str) -> Source:
    """Lists the images by the rules of timm's reader, so that class numbers agree with timm's training script.

    The class of an image is the name of the folder it lies in; classes are numbered in natural order, "9" before "10".
    The walk is our own because timm's holds a tuple, a string and a sort key for each file, over a gigabyte for
    ImageNet, and follows links without end.

    Raises:
        DataError: A part has no images or images outside a class folder, there are fewer than two classes, a
            validation class has no training images, or links mix classes or parts.
    """
    parts = both_parts(Path(spec))
    assert parts is not None, "matches() looks for it"
    walk = Walk(parts.base, parts.train, parts.validation)
    classes = walk.walk("train", parts.train)
    check_classes(classes, walk.walk("validation", parts.validation), str(parts.validation))
    walk.notes += parts.notes
    return walk.source("folder", spec, former=digest(_facts(walk)))


def _facts(walk: Walk) -> Iterator[bytes]:
    """How acmix-nas 0.1 identified images: paths below the source, and sizes."""
    for part in walk.parts.values():
        for name, size in zip(part.names.relative(walk.root), part.sizes, strict=True):
            yield b"%s\t%d\n" % (name, size)
