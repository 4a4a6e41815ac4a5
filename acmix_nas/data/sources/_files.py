"""Many image files in little memory: a million `Path` objects would take half a gigabyte."""

import os
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from acmix_nas.data.draw import Indices
from acmix_nas.data.fingerprint import Content, read_file
from acmix_nas.data.formats import check_regular, open_image
from acmix_nas.errors import DataError

Identity = tuple[int, int]
"""Device and inode, which stay the same whatever link leads to a file."""


class Names:
    """Paths of files, folder after folder, kept as one run of bytes with offsets; some 40 bytes a file."""

    def __init__(self) -> None:
        self._folders: list[str] = []
        self._folder_of = array("i")
        self._bytes = bytearray()
        self._ends = array("q")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Path:
        """The path of a file."""
        return Path(self.text(index))

    def text(self, index: int) -> str:
        """The path of a file as text, which is faster to make."""
        start = self._ends[index - 1] if index else 0
        name = os.fsdecode(bytes(self._bytes[start : self._ends[index]]))
        return f"{self._folders[self._folder_of[index]].removesuffix('/')}/{name}"

    def relative(self, root: Path) -> Iterator[bytes]:
        """The paths below a folder, in order."""
        folders = [os.fsencode(Path(folder).relative_to(root).as_posix()) for folder in self._folders]
        start = 0
        for folder, end in zip(self._folder_of, self._ends, strict=True):
            yield folders[folder] + b"/" + self._bytes[start:end]
            start = end

    def add(self, folder: str, name: str) -> None:
        """Takes one file; those of a folder follow each other."""
        if not self._folders or self._folders[-1] != folder:
            self._folders.append(folder)
        self._bytes += os.fsencode(name)
        self._ends.append(len(self._bytes))
        self._folder_of.append(len(self._folders) - 1)


@dataclass(slots=True)
class Files:
    """Image files of one part, in 24 bytes a file beside names and labels.

    Attributes:
        names: Where they lie.
        labels: Class of each, (N,).
        sizes: Bytes of each, (N,); -1 where there is none.
        devices: Device of each, (N,).
        inodes: Inode of each on its device, (N,); 0 where there is none.
    """

    names: Names = field(default_factory=Names)
    labels: Indices = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    devices: "array[int]" = field(default_factory=lambda: array("Q"))
    inodes: "array[int]" = field(default_factory=lambda: array("Q"))

    def name(self, index: int) -> str:
        """The path."""
        return str(self.names[index])

    def open(self, index: int) -> Image.Image:
        """The image in the file."""
        return open_image(self.names[index])

    def content(self, root: Path) -> Content:
        """What a fingerprint sees: the files, by their paths below a folder."""
        return Content(
            labels=self.labels,
            names=self.names.relative(root),
            sizes=np.array(self.sizes, dtype=np.int64),
            read=lambda index: read_file(self.names.text(index)),
        )

    def add(self, folder: str, name: str) -> None:
        """Takes a file, without its label; a link that leads nowhere is one of its own."""
        self.names.add(folder, name)
        try:
            found = os.stat(f"{folder}/{name}")  # noqa: PTH116  a Path for each of a million files takes long
        except (OSError, ValueError):  # the name of a list has a NUL
            size, device, inode = -1, 0, 0
        else:
            size, device, inode = found.st_size, found.st_dev, found.st_ino
        self.sizes.append(size)
        self.devices.append(device)
        self.inodes.append(inode)

    def only(self, places: Indices) -> "Files":
        """Those at some places."""
        some = [
            array(kind.typecode, np.array(kind)[places].tolist()) for kind in (self.sizes, self.devices, self.inodes)
        ]
        kept = Files(Names(), self.labels[places], *some)
        for place in places.tolist():
            path = self.names[place]
            kept.names.add(str(path.parent), path.name)
        return kept

    def repeated(self) -> Indices:
        """(first, later) place of each file that was there before, (R, 2), in the order of the later ones."""
        devices, inodes = np.array(self.devices, dtype=np.uint64), np.array(self.inodes, dtype=np.uint64)
        order = np.lexsort((inodes, devices))  # stable: the first of a file's places comes first
        devices, inodes = devices[order], inodes[order]
        is_later = np.zeros(len(order), dtype=bool)
        is_later[1:] = (devices[1:] == devices[:-1]) & (inodes[1:] == inodes[:-1]) & (inodes[1:] != 0)
        first = np.maximum.accumulate(np.where(is_later, 0, np.arange(len(order))))
        pairs = np.stack([order[first], order], axis=1)[is_later]
        return pairs[np.argsort(pairs[:, 1])]

    def shared(self, other: "Files") -> tuple[int, int] | None:
        """A place here and one there that are the same file; None where there are none."""
        both = Files(devices=self.devices + other.devices, inodes=self.inodes + other.inodes)
        count = len(self.names)
        for first, later in both.repeated().tolist():
            if first < count <= later:
                return first, later - count
        return None


def identity(path: str | Path) -> Identity:
    """Device and inode of a file or folder.

    Raises:
        DataError: It cannot be reached.
    """
    try:
        found = Path(path).stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}. Change its permissions, or remove it.") from error
    return found.st_dev, found.st_ino


def check_files(*files: Path) -> None:
    """Refuses files with images that are no regular files, or that are there twice.

    Raises:
        DataError: The message names them.
    """
    seen: dict[Identity, Path] = {}
    for file in files:
        check_regular(file)
        other = seen.setdefault(identity(file), file)
        if other is not file:
            raise DataError(f"each file of a source is read once; {other} and {file} are one file. Remove the link.")


def natural(paths: Iterable[Path]) -> list[Path]:
    """Paths in natural order, "9" before "10"."""
    return sorted(paths, key=lambda path: in_order(str(path)))


def in_order(name: str) -> tuple[list[str | int], str]:
    """A key that sorts names in timm's natural order; those that it has as one, as "1" and "01", by their characters.

    Else the order would be that of the disk, and the images of two machines would have other numbers. timm's own key
    raises for a raised digit between others, as in "5\u00b26".
    """
    pieces: list[str | int] = [*re.split(r"(\d+)", name.lower())]
    pieces[1::2] = map(int, pieces[1::2])
    return pieces, name
