"""Where the parts of a source lie in a folder, and whether their images lie in class folders."""

from pathlib import Path

from acmix_nas.data.formats import is_image
from acmix_nas.data.source import VALIDATION
from acmix_nas.data.sources._tar import find_tars

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
        if found := [folder for folder in folders if folder.name == name]:
            return found[0]
        if found := [folder for folder in folders if folder.name.lower() == name]:
            return found[0]
    return None


def find_validation(root: Path) -> tuple[Path | None, list[Path]]:
    """The validation part, and parts that are passed over because they have no class folders and usually no labels."""
    without: list[Path] = []
    for name in (*VALIDATION, "testing"):
        folder = find_part(root, (name,))
        if folder is None:
            continue
        if name not in UNLABELLED or loose_images(folder) is None:
            return folder, without
        without.append(folder)
    return None, without


def passed_over(folders: list[Path]) -> list[str]:
    """Notes on parts that are not read."""
    why = "its images lie in no class folders, as those of parts without labels"
    return [f"{folder} is skipped: {why}" for folder in folders]


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
