"""A folder of labelled images: `train/CLASS/*` and a validation folder of the same shape, as ImageNet is laid out."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from timm.utils.misc import natural_key

from acmix_nas.data.draw import Indices
from acmix_nas.data.source import VALIDATION, Source, check_classes
from acmix_nas.data.sources._names import Names, extensions
from acmix_nas.errors import DataError

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
        return Image.open(self.files[index])


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


@dataclass(slots=True)
class _Found:
    """Files and the class of each, while a part is walked through."""

    files: Names = field(default_factory=Names)
    classes: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


def matches(spec: str) -> bool:
    """Whether there are a train and a validation folder, and folders of classes in the first."""
    root = Path(spec)
    has_parts = (root / "train").is_dir() and _validation(root) is not None
    return has_parts and not any((root / "train").glob("*.tar"))


def open_source(spec: str) -> Source:
    """Lists the images by the rules of timm's reader, so that class numbers agree with timm's training script.

    The class of an image is the name of the folder it lies in; classes are numbered in natural order, "9" before "10".
    The walk is our own because timm's holds a tuple, a string and a sort key for each file: over a gigabyte for
    ImageNet. Files and folders whose name starts with a dot are left out.

    Raises:
        DataError: A part has no images or images outside a class folder, there are fewer than two classes, or a
            validation class has no training images.
    """
    root = Path(spec)
    validation_folder = _validation(root)
    assert validation_folder is not None, "matches() looks for it"
    hashed = hashlib.sha256()
    train = _walk(root, root / "train", hashed)
    validation = _walk(root, validation_folder, hashed)
    classes = tuple(sorted({*train.classes}, key=natural_key))
    known = {name: number for number, name in enumerate(classes)}
    check_classes(classes, validation.classes, str(validation_folder))
    return Source(
        kind="folder",
        name=root.resolve().name,
        classes=classes,
        train=_number(train, known),
        validation=_number(validation, known),
        fingerprint=hashed.hexdigest()[:16],
    )


def _validation(root: Path) -> Path | None:
    return next((root / name for name in VALIDATION if (root / name).is_dir()), None)


def _walk(root: Path, part: Path, hashed: _Hash) -> _Found:
    """Takes the images below a folder; the hash takes their paths below the source, and their sizes."""
    found = _Found()
    for folder, files in _folders(part):
        if files and Path(folder) == part:
            raise DataError(
                f"images lie in a folder named after their class; {files[0]} lies directly in {part}. Move it."
            )
        below = Path(folder).relative_to(root).as_posix()
        for name in files:
            hashed.update(os.fsencode(f"{below}/{name}\t{_size(folder, name)}\n"))
        if files:
            found.files.add(folder, files)
            found.classes.append(Path(folder).name)
            found.counts.append(len(files))
    if not found.counts:
        kinds = ", ".join(sorted(extensions()))
        raise DataError(f"there are no images in the class folders of {part}; {kinds} files are read.")
    return found


def _size(folder: str, name: str) -> int:
    """Bytes of a file; -1 for a link that leads nowhere, which decoding will name."""
    try:
        return os.stat(f"{folder}/{name}").st_size  # noqa: PTH116  a Path for each of a million files takes long
    except OSError:
        return -1


def _folders(part: Path) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of its images), all in natural order, one folder at a time."""
    kinds = extensions()
    for folder, below, files in os.walk(part, followlinks=True):
        below[:] = sorted((name for name in below if not name.startswith(".")), key=natural_key)
        images = [n for n in files if os.path.splitext(n)[1].lower() in kinds and n[0] != "."]  # noqa: PTH122
        yield folder, sorted(images, key=natural_key)


def _number(found: _Found, known: dict[str, int]) -> Files:
    numbers = np.array([known[name] for name in found.classes], dtype=np.int64)
    return Files(files=found.files, labels=np.repeat(numbers, found.counts))
