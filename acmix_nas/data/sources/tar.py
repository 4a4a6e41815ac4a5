"""Tar files of images in class folders, read where they lie."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from acmix_nas.data.fingerprint import fingerprint
from acmix_nas.data.formats import extension_of, is_image
from acmix_nas.data.source import VALIDATION, Source, check_classes, digest
from acmix_nas.data.sources._files import check_files, in_order
from acmix_nas.data.sources._parts import Folder, name_classes, name_depth
from acmix_nas.data.sources._tar import Member, Members, find_tars, has_class_files, is_tar, members
from acmix_nas.errors import DataError

LAYOUT = (
    "a tar file with train/CLASS/*.jpg and val/CLASS/*.jpg in it, or a folder with train.tar and val.tar, or with "
    "train/CLASS.tar and val/CLASS.tar"
)


@dataclass(slots=True)
class _Part(Members):
    """Images of a part, and which tar file and which folders in it they lie in."""

    folders: dict[tuple[Folder, Folder], int] = field(default_factory=dict)

    def take(self, member: Member, tar: Folder, inside: Folder, where: str) -> None:
        """Takes an image that lies in these folders, the innermost last."""
        if not tar + inside or ".." in inside:
            raise DataError(f"images lie in a folder named after their class; {where} does not. Pack the folders.")
        self.add(member, self.folders.setdefault((tar, inside), len(self.folders)))

    def classes(self, where: str) -> list[str]:
        """The class of each of `folders`; a folder that several tar files have is one class."""
        whole = [tar + inside for tar, inside in self.folders]
        if name_depth(whole) > 1:
            return name_classes(whole, where)
        shared = [inside or tar for tar, inside in self.folders]
        distinct = [*dict.fromkeys(shared)]
        named = dict(zip(distinct, name_classes(distinct, where), strict=True))
        return [named[folder] for folder in shared]


def matches(spec: str) -> bool:
    """Whether there are tar files in one of the three layouts, and no labels in files of their own."""
    path = Path(spec)
    if path.is_file():
        return is_tar(path)
    train = _tars(path, "train")
    return bool(train) and not has_class_files(train[0])


def open_source(spec: str) -> Source:
    """Lists the images; the class of one is the folder it lies in, or the tar file that has no folders.

    That is timm's rule. The list is our own because timm's holds a `TarInfo` for each image, over a gigabyte for
    ImageNet, writes a pickle beside the tar files, and takes a damaged header for the end.

    Raises:
        DataError: A file is damaged or compressed, a part is missing or has no images, or the classes differ.
    """
    path = Path(spec)
    passed_over: Counter[str] = Counter()
    parts = _list_one(path, passed_over) if path.is_file() else _list_folder(path, passed_over)
    validation = next((name for name in VALIDATION if name in parts), None)
    if "train" not in parts or validation is None:
        raise DataError(_missing(path, parts, passed_over))
    named = {part: parts[part].classes(f"the {part} part of {path}") for part in ("train", validation)}
    check_classes(named["train"], named[validation], f"the validation part of {path}")
    classes = sorted({*named["train"]}, key=in_order)
    known = {name: number for number, name in enumerate(classes)}
    for part, names in named.items():
        parts[part].close()
        parts[part].labels = np.array([known[name] for name in names], dtype=np.int64)[parts[part].labels]
    train, held_out = parts["train"], parts[validation]
    return Source(
        kind="tar",
        name=path.resolve().name,
        classes=tuple(classes),
        train=train,
        validation=held_out,
        fingerprint=fingerprint(classes, [train.content(path), held_out.content(path)]),
        former=_former(path, parts, named),
        passed_over=passed_over,
    )


def _former(path: Path, parts: dict[str, _Part], named: Mapping[str, Sequence[str]]) -> str:
    """The fingerprint of acmix-nas 0.1, which numbered classes in the order in which it met them in the tar files."""
    met: list[tuple[int, int, str]] = []
    for place, part in enumerate(parts.values()):
        folders, firsts = np.unique(np.array(part.numbers, dtype=np.int64), return_index=True)
        for folder, first in zip(folders.tolist(), firsts.tolist(), strict=True):
            where = (0, part.starts[first]) if path.is_file() else (place, first)
            met.append((*where, (sum([*part.folders][folder], ()) or ("",))[-1]))
    known = {name: number for number, name in enumerate(dict.fromkeys(name for *_, name in sorted(met)))}
    facts: list[str | bytes] = []
    for part_name, names in named.items():
        numbers = np.array([known.get(name, -1) for name in names], dtype=np.int64)
        facts += parts[part_name].facts(numbers[np.array(parts[part_name].numbers, dtype=np.int64)])
    return digest(facts)


def _tars(root: Path, part: str) -> list[Path]:
    return find_tars(root, part) or find_tars(root / part, "*")


def _list_one(tar: Path, passed_over: Counter[str]) -> dict[str, _Part]:
    """One file with all parts: the first folder named after a part is the part."""
    parts: dict[str, _Part] = {}
    for member in _images(tar, passed_over):
        folders = Path(member[0]).parts[:-1]
        part = next((name for name in folders if name in ("train", *VALIDATION)), None)
        if part is None:
            passed_over[f"outside {', '.join(('train', *VALIDATION))}"] += 1
            continue
        if part not in parts:
            parts[part] = _Part(tars=[tar])
        parts[part].take(member, (), folders[folders.index(part) + 1 :], f"{tar}/{member[0]}")
    return parts


def _list_folder(root: Path, passed_over: Counter[str]) -> dict[str, _Part]:
    """Tar files of each part, the validation part under its first name."""
    names = ["train", *[name for name in VALIDATION if _tars(root, name)][:1]]
    tars = {name: _tars(root, name) for name in names}
    check_files(*chain(*tars.values()))
    listed = {name: _list_part(tars[name], name, passed_over) for name in names}
    return {name: part for name, part in listed.items() if part.folders}


def _list_part(tars: Iterable[Path], part: str, passed_over: Counter[str]) -> _Part:
    found = _Part()
    for tar in tars:
        found.tars.append(tar)
        for member in _images(tar, passed_over):
            inside = tuple(name for name in Path(member[0]).parts[:-1] if name != part)
            found.take(member, () if tar.stem == part else (tar.stem,), inside, f"{tar}/{member[0]}")
    return found


def _images(tar: Path, passed_over: Counter[str]) -> Iterable[Member]:
    for member in members(tar, passed_over):
        name = Path(member[0]).name
        if is_image(name):
            yield member
        else:
            passed_over["hidden" if name[:1] == "." else extension_of(name) or "without extension"] += 1


def _missing(path: Path, parts: dict[str, _Part], passed_over: Counter[str]) -> str:
    found = [f"{len(part.names)} images for {name}, as {part.names[0]}" for name, part in parts.items()]
    others = ", ".join(f"{count} {name}" for name, count in passed_over.most_common(5))
    missing = "train" if "train" not in parts else f"one of {', '.join(VALIDATION)}"
    return (
        f"a source is {LAYOUT}; {path} has no images for {missing}. It has "
        f"{'; '.join(found) or 'none for any part'}{f', and passed over {others}' if others else ''}."
    )
