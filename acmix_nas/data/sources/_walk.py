"""Folders of images, walked so that each real folder and each real file is read once."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from acmix_nas.data.draw import Indices
from acmix_nas.data.formats import EXTENSIONS, extension_of, is_image
from acmix_nas.data.sources._classes import Folder, name_classes, name_depth
from acmix_nas.data.sources._identity import Identities, Identity, identity
from acmix_nas.data.sources._names import Names, in_order
from acmix_nas.errors import DataError


@dataclass(slots=True)
class Found:
    """Images of one part.

    Attributes:
        files: Where they lie.
        identities: Size, device and inode of each.
        folders: Names of the folders with images, below the part.
        counts: Images of each of these folders, which follow each other.
        classes: Class of each of these folders; empty for a part whose images lie in no class folders.
    """

    files: Names = field(default_factory=Names)
    identities: Identities = field(default_factory=Identities)
    folders: list[Folder] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)

    def add(self, folder: Folder, path: str, images: Sequence[str]) -> None:
        """Takes the images of one folder."""
        self.files.add(path, images)
        self.folders.append(folder)
        self.counts.append(len(images))
        for name in images:
            self.identities.add(f"{path}/{name}")

    def numbers(self) -> Indices:
        """The place of each image's folder in `folders`, (N,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def only(self, places: Indices) -> "Found":
        """The images at some places, ascending."""
        counts = np.bincount(self.numbers()[places], minlength=len(self.counts))
        files = Names()
        for place in places.tolist():
            path = self.files[place]
            files.add_one(str(path.parent), path.name)
        kept = np.flatnonzero(counts).tolist()
        return Found(
            files=files,
            identities=self.identities.only(places),
            folders=[self.folders[number] for number in kept],
            counts=counts[kept].tolist(),
            classes=[self.classes[number] for number in kept if self.classes],
        )


class Walk:
    """Walks through the parts of one source.

    A folder that a link leads to is walked through, unless it was before or has the source itself in it. A file with
    two names is one image. Files and folders whose name starts with a dot are left out.

    Args:
        tops: The folders of its parts; no link in one may lead to another.

    Attributes:
        passed_over: How many files were no images, by extension.
        notes: What a user should know of links and empty folders.
    """

    def __init__(self, *tops: Path) -> None:
        self.passed_over: Counter[str] = Counter()
        self.notes: list[str] = []
        self._seen: dict[Identity, tuple[Path, Folder]] = {}
        for top in tops:
            self._first(top, (), str(top))
        self._parts: list[Found] = []

    def part(self, top: Path, *, in_classes: bool = True) -> Found:
        """Lists the images below a folder, in natural order, "9" before "10".

        Args:
            top: The folder.
            in_classes: Whether the images lie in folders named after their class.

        Raises:
            DataError: A folder cannot be listed; there are no images, or one lies in no class folder; two folders are
                one class, or a folder or file has two; or an image is in another part too.
        """
        found, links, empty = Found(), list[tuple[Folder, Folder]](), list[str]()
        for folder, path, images, is_leaf in self._folders(top, links):
            if images:
                found.add(folder, path, images)
            elif is_leaf:
                empty.append("/".join(folder))
        if not found.counts:
            raise DataError(f"there are no images in {top}; {', '.join(sorted(EXTENSIONS))} files are read.")
        if in_classes:
            _check_in_folders(found, top)
            found.classes = name_classes(found.folders, str(top))
            _check_links(links, name_depth(found.folders), top)
            self._note(f"folders of {top} have no images", empty)
        followed = "that are already read, or that contain the source, are not followed"
        self._note(f"links in {top} to folders {followed}", ["/".join(link) for link, _ in links])
        found = self._distinct(found, top)
        for other in self._parts:
            _check_disjoint(found, other)
        self._parts.append(found)
        return found

    def _folders(self, top: Path, links: list[tuple[Folder, Folder]]) -> Iterator[tuple[Folder, str, list[str], bool]]:
        """Each folder once: its names below the part, its path, its images, whether it has no folders inside."""
        source = top.parent.resolve()  # the part itself may be a link to elsewhere
        above = {identity(folder) for folder in (*top.resolve().parents, source, *source.parents)}
        waiting: list[Folder] = [()]
        while waiting:
            folder = waiting.pop()
            path = os.path.join(top, *folder)  # noqa: PTH118
            same = folder if identity(path) in above else self._first(top, folder, path)
            if same is not None:
                links.append((folder, same))
                continue
            below, images = self._list(path)
            waiting += [(*folder, name) for name in sorted(below, key=in_order, reverse=True)]
            yield folder, path, sorted(images, key=in_order), not below

    def _first(self, top: Path, folder: Folder, path: str) -> Folder | None:
        """Where a folder was met before; None for a new one, the folder itself for one that is inside itself."""
        other_top, other = self._seen.setdefault(identity(path), (top, folder))
        if other_top != top:
            raise DataError(
                f"no image is in two parts of a source; {path} and {Path(other_top, *other)} are one folder. Remove "
                "the link."
            )
        if other == folder:
            return None
        return folder if other == folder[: len(other)] else other

    def _list(self, path: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the images in a folder; the rest is counted."""
        below, images = [], []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name[0] == ".":
                        self.passed_over["hidden"] += 1
                    elif _is_folder(entry):
                        below.append(entry.name)
                    elif is_image(entry.name):
                        images.append(entry.name)
                    else:
                        self.passed_over[extension_of(entry.name) or "without extension"] += 1
        except OSError as error:
            raise DataError(
                f"the folder {path} cannot be listed: {error}. Change its permissions, or remove it."
            ) from error
        return below, images

    def _distinct(self, found: Found, top: Path) -> Found:
        """The same images, each real file once."""
        repeated = found.identities.repeated()
        if not len(repeated):
            return found
        numbers = found.numbers()
        for first, later in repeated.tolist():
            if found.classes and found.classes[numbers[first]] != found.classes[numbers[later]]:
                raise DataError(
                    f"an image has one class; {found.files[first]} and {found.files[later]} are one file. Remove one "
                    "of them."
                )
        names = (str(found.files[later]) for later in repeated[:, 1].tolist())
        self._note(f"names in {top} are links to images that are read already", [*names])
        return found.only(np.setdiff1d(np.arange(len(numbers)), repeated[:, 1]))

    def _note(self, what: str, names: Sequence[str]) -> None:
        if names:
            self.notes.append(f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}")


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _check_in_folders(found: Found, top: Path) -> None:
    if found.folders[0] == ():
        raise DataError(
            f"images lie in a folder named after their class; {found.files[0].name} lies directly in {top}. Move it."
        )


def _check_links(links: Iterable[tuple[Folder, Folder]], depth: int, top: Path) -> None:
    for folder, same in links:
        if folder[-depth:] != same[-depth:]:
            raise DataError(
                f"an image has one class; {Path(top, *same)} and {Path(top, *folder)} are one folder. Remove the link."
            )


def _check_disjoint(found: Found, other: Found) -> None:
    shared = found.identities.shared(other.identities)
    if shared is not None:
        raise DataError(
            f"no image is in two parts of a source; {other.files[shared[1]]} and {found.files[shared[0]]} are one "
            "file. Remove one of them."
        )
