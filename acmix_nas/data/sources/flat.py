"""Class folders without a validation part: `CLASS/*.jpg`, or `train/CLASS/*.jpg` alone."""

from pathlib import Path

from acmix_nas.data.fingerprint import fingerprint
from acmix_nas.data.share import hold_out
from acmix_nas.data.source import Source
from acmix_nas.data.sources import published, table
from acmix_nas.data.sources._names import in_order
from acmix_nas.data.sources._parts import (
    TRAIN,
    base_of,
    class_folders,
    find_part,
    find_validation,
    has_images,
    has_packed,
    loose_images,
    passed_over,
    subfolders,
)
from acmix_nas.data.sources._walk import Walk
from acmix_nas.data.sources.folder import number
from acmix_nas.data.store import is_store

LAYOUT = "a folder of class folders, CLASS/*.jpg or train/CLASS/*.jpg alone, of which a share is held out for report"


def matches(spec: str) -> bool:
    """Whether there are class folders with images and no part to validate on."""
    return _top(Path(spec)) is not None


def open_source(spec: str) -> Source:
    """Lists the images as `folder` does, and holds a share of them out.

    Raises:
        DataError: As `folder.open_source`; or a class has fewer than three images.
    """
    root = Path(spec)
    top = _top(root)
    assert top is not None, "matches() looks for it"
    walk = Walk(top)
    found = walk.part(top)
    classes = tuple(sorted({*found.classes}, key=in_order))
    whole = number(found, {name: place for place, name in enumerate(classes)})
    train, validation, note = hold_out(whole, root.resolve().name)
    _, unlabelled = find_validation(base_of(root))
    return Source(
        kind="flat",
        name=root.resolve().name,
        classes=classes,
        train=train,
        validation=validation,
        fingerprint=fingerprint(classes, [whole.content(top, found.identities.sizes)]),
        passed_over=walk.passed_over,
        notes=(*walk.notes, *passed_over(unlabelled), note),
    )


def _top(root: Path) -> Path | None:
    """The folder that has the class folders."""
    if not root.is_dir() or is_store(root) or published.matches(str(root)):
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
