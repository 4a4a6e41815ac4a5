"""Lists a folder of labelled images: `train/CLASS/*` and a validation folder of the same shape."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from timm.data.readers.reader_image_folder import find_images_and_targets

from acmix_nas.data.draw import Indices
from acmix_nas.errors import DataError

VALIDATION = ("val", "valid", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Images of one part of a source.

    Attributes:
        paths: Where they lie.
        labels: Class of each, (N,).
    """

    paths: list[Path]
    labels: Indices


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A source before anything is decoded.

    Attributes:
        train: Images of `train`.
        validation: Images of the validation folder.
        classes: Folder names of the classes, in natural order ("9" before "10").
        fingerprint: 16 hexadecimal digits of the SHA-256 of all paths below the source and file sizes.
    """

    train: Files
    validation: Files
    classes: tuple[str, ...]
    fingerprint: str


def list_folder(root: Path) -> Listing:
    """Lists the images of a source with timm's reader, so that class numbers agree with timm's training script.

    Files and folders whose name starts with a dot are left out.

    Raises:
        DataError: The layout is another one, a part has no images, there are fewer than two classes, or a validation
            class has no training images.
    """
    train_folder, validation_folder = _find_parts(root)
    train, classes = _list_part(train_folder)
    if len(classes) < 2:
        raise DataError(f"classification needs two classes or more; {train_folder} has {', '.join(classes)} only.")
    validation, named = _list_part(validation_folder)
    if unknown := sorted(set(named) - set(classes)):
        raise DataError(
            f"each class of {validation_folder} needs training images; {len(unknown)} have none: "
            f"{', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}. Add them to {train_folder} or remove them."
        )
    number = np.array([classes.index(name) for name in named], dtype=np.int64)
    validation = Files(paths=validation.paths, labels=number[validation.labels])
    fingerprint = _fingerprint(root, train.paths + validation.paths)
    return Listing(train=train, validation=validation, classes=classes, fingerprint=fingerprint)


def _find_parts(root: Path) -> tuple[Path, Path]:
    rule = f"a source is a folder with train/CLASS/*.jpg and one of {', '.join(VALIDATION)} of the same shape"
    if not root.is_dir():
        raise DataError(f"{rule}; there is no folder {root}. Check the path.")
    validation = next((root / name for name in VALIDATION if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or validation is None:
        found = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
        shown = f"{', '.join(found[:8])}{', ...' if len(found) > 8 else ''}" if found else "nothing"
        raise DataError(f"{rule}; {root} has {shown}. Move or link the images into that layout.")
    return root / "train", validation


def _list_part(folder: Path) -> tuple[Files, tuple[str, ...]]:
    samples, class_to_idx = find_images_and_targets(str(folder))
    found = [(Path(name), number) for name, number in samples]
    found = [(path, number) for path, number in found if not _is_hidden(path.relative_to(folder))]
    if not found:
        raise DataError(f"there are no images in the class folders of {folder}; JPEG and PNG files are read.")
    if loose := [path.name for path, _ in found if path.parent == folder]:
        raise DataError(
            f"images lie in a folder named after their class; {loose[0]} lies directly in {folder}. Move it."
        )
    present = sorted({number for _, number in found})
    name_of = {number: name for name, number in class_to_idx.items()}
    labels = np.searchsorted(present, [number for _, number in found]).astype(np.int64)
    return Files(paths=[path for path, _ in found], labels=labels), tuple(name_of[number] for number in present)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _fingerprint(root: Path, paths: list[Path]) -> str:
    lines = sorted(f"{path.relative_to(root).as_posix()}\t{path.stat().st_size}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
