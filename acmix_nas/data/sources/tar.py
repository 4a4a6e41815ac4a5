"""Tar files of images in class folders, read where they lie."""

from pathlib import Path

import numpy as np
from timm.utils.misc import natural_key

from acmix_nas.data.source import VALIDATION, Source, check_classes, digest
from acmix_nas.data.sources._names import natural
from acmix_nas.data.sources._tar import Found, has_class_files, is_image, members
from acmix_nas.errors import DataError

LAYOUT = (
    "a tar file with train/CLASS/*.jpg and val/CLASS/*.jpg in it, or a folder with train.tar and val.tar, or with "
    "train/CLASS.tar and val/CLASS.tar"
)


def matches(spec: str) -> bool:
    """Whether there are tar files in one of the three layouts, and no labels in files of their own."""
    path = Path(spec)
    if path.suffix == ".tar" and path.is_file():
        return True
    train = _tars(path, "train")
    return bool(train) and not has_class_files(train[0])


def open_source(spec: str) -> Source:
    """Lists the images; the class of one is the folder it lies in, or the tar file that has no folders.

    That is timm's rule. The list is our own because timm's holds a `TarInfo` for each image, over a gigabyte for
    ImageNet, and writes a pickle beside the tar files.

    Raises:
        DataError: A file is damaged or compressed, a part is missing or has no images, or the classes differ.
    """
    path = Path(spec)
    known: dict[str, int] = {}
    parts = _list_one(path, known) if path.is_file() else _list_folder(path, known)
    validation = next((parts[name] for name in VALIDATION if name in parts), None)
    if "train" not in parts or validation is None:
        raise DataError(f"a source is {LAYOUT}; {path} has images for {', '.join(sorted(parts)) or 'nothing'} only.")
    train = parts["train"]
    trained, seen = _present(train, known), _present(validation, known)
    check_classes(trained, seen, f"the validation part of {path}")
    classes = sorted(trained, key=natural_key)
    number = np.full(len(known), -1, dtype=np.int64)
    number[[known[name] for name in classes]] = np.arange(len(classes))
    return Source(
        kind="tar",
        name=path.resolve().name,
        classes=tuple(classes),
        train=train.part(number),
        validation=validation.part(number),
        fingerprint=digest(piece for found in (train, validation) for piece in found.facts()),
    )


def _tars(root: Path, part: str) -> list[Path]:
    single = root / f"{part}.tar"
    return [single] if single.is_file() else natural((root / part).glob("*.tar"))


def _list_one(tar: Path, known: dict[str, int]) -> dict[str, Found]:
    """One file with all parts: the first folder named after a part tells the part."""
    parts: dict[str, Found] = {}
    for member in members(tar):
        folders = Path(member[0]).parts[:-1]
        part = next((name for name in folders if name in ("train", *VALIDATION)), None)
        if part is None or not is_image(member[0]):
            continue
        if part not in parts:
            parts[part] = Found()
            parts[part].begin(tar)
        below = folders[folders.index(part) + 1 :]
        parts[part].add(member, _number(below, known, f"{tar}/{member[0]}"))
    return parts


def _list_folder(root: Path, known: dict[str, int]) -> dict[str, Found]:
    """Tar files of each part, the validation part under its first name."""
    names = ["train", *[name for name in VALIDATION if _tars(root, name)][:1]]
    return {name: _list_part(_tars(root, name), name, known) for name in names}


def _list_part(tars: list[Path], part: str, known: dict[str, int]) -> Found:
    found = Found()
    for tar in tars:
        found.begin(tar)
        own = () if tar.stem == part else (tar.stem,)
        for member in members(tar):
            folders = own + tuple(name for name in Path(member[0]).parts[:-1] if name != part)
            if is_image(member[0]):
                found.add(member, _number(folders, known, f"{tar}/{member[0]}"))
    return found


def _present(found: Found, known: dict[str, int]) -> list[str]:
    numbers = {*found.labels}
    return [name for name, number in known.items() if number in numbers]


def _number(folders: tuple[str, ...], known: dict[str, int], where: str) -> int:
    if not folders:
        raise DataError(f"images lie in a folder named after their class; {where} does not. Pack the folders.")
    return known.setdefault(folders[-1], len(known))
