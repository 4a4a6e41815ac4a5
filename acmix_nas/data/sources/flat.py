"""Class folders without a validation part: `CLASS/*.jpg`, or `train/CLASS/*.jpg` alone."""

from pathlib import Path

from acmix_nas.data.source import Source
from acmix_nas.data.sources import ade, cityscapes, coco, pairs, published, store, table, voc
from acmix_nas.data.sources._parts import (
    TRAIN,
    base_of,
    class_folders,
    find_part,
    find_validation,
    has_images,
    has_packed,
    loose_images,
    subfolders,
)
from acmix_nas.data.sources._walk import Walk

MASKED = (ade, cityscapes, coco, pairs, voc)
"""Kinds with folders of images and of masks, which are no classes."""
LAYOUT = "a folder of class folders, CLASS/*.jpg or train/CLASS/*.jpg alone, of which a share is held out for report"


def matches(spec: str) -> bool:
    """Whether there are class folders with images and no part to validate on."""
    return _top(Path(spec)) is not None


def open_source(spec: str) -> Source:
    """Lists the images as `folder` does, and holds a share of them out.

    Raises:
        DataError: As `folder.open_source`; or a class has fewer than three images.
    """
    top = _top(Path(spec))
    assert top is not None, "matches() looks for it"
    walk = Walk(top, top)
    walk.walk("train", top)
    walk.notes += find_validation(base_of(Path(spec)))[1]
    return walk.source("flat", spec)


def _top(root: Path) -> Path | None:
    """The folder that has the class folders."""
    if not root.is_dir() or store.matches(root) or any(kind.matches(str(root)) for kind in (published, *MASKED)):
        return None
    base = base_of(root)
    train, (validation, unlabelled) = find_part(base, TRAIN), find_validation(base)
    if train is not None:
        is_alone = validation is None and loose_images(train) is None and not has_packed(train)
        return train if is_alone and class_folders(train) else None
    if validation is not None or unlabelled or has_packed(root):
        return None
    inside = subfolders(root)
    top = inside[0] if len(inside) == 1 and not has_images(root) else root
    return top if len(class_folders(top)) > 1 and not table.matches(str(root)) else None
