"""Folders of images, walked so that each real folder and each real file is read once."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from acmix_nas.data.formats import EXTENSIONS, extension_of, is_image
from acmix_nas.data.source import first_few
from acmix_nas.data.sources._files import Files, Identity, identity, in_order
from acmix_nas.data.sources._listed import Listing
from acmix_nas.data.sources._parts import Folder, name_classes, name_depth
from acmix_nas.errors import DataError


class Walk(Listing):
    """Walks through the parts of one source.

    A folder that a link leads to is walked through, unless it was before or has the source itself in it. A file with
    two names is one image. Files and folders whose name starts with a dot are left out.

    Args:
        root: What the names of images are relative to in the fingerprint.
        tops: The folders of its parts; no link in one may lead to another.
    """

    def __init__(self, root: Path, *tops: Path) -> None:
        super().__init__(root)
        self._seen: dict[Identity, tuple[Path, Folder]] = {}
        for top in tops:
            self._first(top, (), str(top))

    def walk(self, part: str, top: Path, *, in_classes: bool = True) -> list[str]:
        """Lists the images of a part below a folder, in natural order, "9" before "10".

        Args:
            part: "train" or "validation".
            top: The folder.
            in_classes: Whether the images lie in folders named after their class; else they have no labels yet.

        Returns:
            The classes, in the order in which they were met.

        Raises:
            DataError: A folder cannot be listed; there are no images, or one lies in no class folder; or two folders
                are one class, or a folder or file has two.
        """
        files, folders, counts = Files(), list[Folder](), list[int]()
        links, empty = list[tuple[Folder, Folder]](), list[str]()
        for folder, path, images, is_leaf in self._folders(top, links):
            if images:
                folders.append(folder)
                counts.append(len(images))
                for name in images:
                    files.add(path, name)
            elif is_leaf:
                empty.append("/".join(folder))
        if not folders:
            raise DataError(f"there are no images in {top}; {', '.join(sorted(EXTENSIONS))} files are read.")
        files.labels = np.zeros(sum(counts), dtype=np.int64)
        classes: list[str] = []
        if in_classes:
            classes = _classes(files, folders, links, top)
            files.labels = np.repeat([self.number(name) for name in classes], counts)
            self._note(f"folders of {top} have no images", empty)
        followed = "that are already read, or that contain the source, are not followed"
        self._note(f"links in {top} to folders {followed}", ["/".join(link) for link, _ in links])
        self.parts[part] = self._distinct(files, top)
        return classes

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

    def _distinct(self, files: Files, top: Path) -> Files:
        """The same images, each real file once."""
        repeated = files.repeated()
        if not len(repeated):
            return files
        for first, later in repeated.tolist():
            if files.labels[first] != files.labels[later]:
                raise DataError(
                    f"an image has one class; {files.names[first]} and {files.names[later]} are one file. Remove one "
                    "of them."
                )
        names = [files.name(later) for later in repeated[:, 1].tolist()]
        self._note(f"names in {top} are links to images that are read already", names)
        return files.only(np.setdiff1d(np.arange(len(files.names)), repeated[:, 1]))

    def _note(self, what: str, names: Sequence[str]) -> None:
        if names:
            self.notes.append(f"{len(names)} {what}: {first_few(names, 3)}")


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _classes(files: Files, folders: list[Folder], links: list[tuple[Folder, Folder]], top: Path) -> list[str]:
    """The class of each of the folders with images."""
    if folders[0] == ():
        raise DataError(
            f"images lie in a folder named after their class; {files.names[0].name} lies directly in {top}. Move it."
        )
    classes, depth = name_classes(folders, str(top)), name_depth(folders)
    for folder, same in links:
        if folder[-depth:] != same[-depth:]:
            raise DataError(
                f"an image has one class; {Path(top, *same)} and {Path(top, *folder)} are one folder. Remove the link."
            )
    return classes
