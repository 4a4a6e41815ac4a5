"""Where the parts of a source lie in a folder, and the class folders in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from acmix_nas.data.formats import is_image
from acmix_nas.data.source import VALIDATION
from acmix_nas.data.sources._tar import find_tars
from acmix_nas.errors import DataError

Folder = tuple[str, ...]
"""Names of the folders from a part of a source down to one that has images."""
TRAIN = ("train", "training")
UNLABELLED = ("test", "testing")
"""Parts that publishers ship without labels; those that have none are passed over."""

_INSIDE = ("", "data", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
"""Where parts lie below what the Hugging Face hub and Kaggle ship."""

_LOOKED_AT = 50
"""Folders that tell whether there are class folders."""


def base_of(root: Path) -> Path:
    """The folder that has the parts: the source itself, or the one below it where they are shipped."""
    return next((root / inside for inside in _INSIDE if find_part(root / inside, TRAIN) is not None), root)


def find_part(root: Path, names: tuple[str, ...]) -> Path | None:
    """The folder of the first of these names, in any case."""
    folders = subfolders(root)
    for name in names:
        found = [folder for folder in folders if folder.name.lower() == name]
        if found:
            return next((folder for folder in found if folder.name == name), found[0])
    return None


def find_validation(root: Path) -> tuple[Path | None, list[str]]:
    """The validation part, and notes on parts that are skipped: they have no class folders and usually no labels."""
    notes: list[str] = []
    for name in (*VALIDATION, "testing"):
        folder = find_part(root, (name,))
        if folder is None:
            continue
        if name not in UNLABELLED or loose_images(folder) is None:
            return folder, notes
        why = "its images lie in no class folders, as those of parts without labels"
        notes.append(f"{folder} is skipped: {why}")
    return None, notes


class Parts(NamedTuple):
    """Where a source has images to train and to validate on.

    Attributes:
        base: The folder that has the parts.
        train: A folder of class folders.
        validation: The folder of the validation part.
        notes: On parts that are not read.
    """

    base: Path
    train: Path
    validation: Path
    notes: list[str]


def both_parts(root: Path) -> Parts | None:
    """The parts of a source with class folders to train on and a validation part; None for any other."""
    base = base_of(root)
    train, (validation, notes) = find_part(base, TRAIN), find_validation(base)
    if train is None or validation is None or has_packed(train) or loose_images(train) is not None:
        return None
    return Parts(base, train, validation, notes)


def loose_images(folder: Path) -> Path | None:
    """Where images lie that are in no class folder: in this one, or in one named images inside it; else None."""
    inside = subfolders(folder)
    if has_images(folder):
        return None if class_folders(folder) else folder
    return inside[0] if [found.name for found in inside] == ["images"] and has_images(inside[0]) else None


def class_folders(folder: Path) -> list[Path]:
    """Of the first folders inside, those with images, also in a folder images, as in Tiny ImageNet."""
    return [found for found in subfolders(folder)[:_LOOKED_AT] if has_images(found) or has_images(found / "images")]


def has_images(folder: Path) -> bool:
    """Whether a folder has images directly inside."""
    try:
        return any(is_image(entry.name) and entry.is_file() for entry in folder.iterdir())
    except OSError:
        return False


def subfolders(folder: Path) -> list[Path]:
    """Folders inside a folder that are not hidden, in order of their names."""
    try:
        return sorted(entry for entry in folder.iterdir() if entry.name[0] != "." and entry.is_dir())
    except OSError:
        return []


def has_packed(folder: Path) -> bool:
    """Whether a folder has images in tar or Parquet files."""
    return bool(find_tars(folder, "*")) or any(True for _ in folder.glob("*.parquet"))


def name_depth(folders: Sequence[Folder]) -> int:
    """Which folder names the class: 1 for the one that the images lie in, 2 for the one above it.

    It is the innermost, as in timm. Where all of them have one name, as in CLASS/images/*.jpg, that name says no
    classes apart and the folder above it names the class.
    """
    is_constant = len(folders) > 1 and len({folder[-1:] for folder in folders}) == 1
    return 2 if is_constant and all(len(folder) > 1 for folder in folders) else 1


def name_classes(folders: Sequence[Folder], where: str) -> list[str]:
    """The class of each of some different folders with images.

    Args:
        folders: None of them empty.
        where: What they lie in, for the message.

    Raises:
        DataError: Two folders would be one class.
    """
    depth = name_depth(folders)
    first: dict[str, Folder] = {}
    for folder in folders:
        other = first.setdefault(folder[-depth], folder)
        if other != folder:
            raise DataError(
                f"a class is one folder; in {where}, {'/'.join(other)} and {'/'.join(folder)} would both be the class "
                f"{folder[-depth]}. Move their images into one folder, or give the folders different names."
            )
    return [folder[-depth] for folder in folders]
