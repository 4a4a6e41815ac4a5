"""Which paths are one file: device and inode stay the same whatever link leads to it."""

import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from acmix_nas.data.draw import Indices
from acmix_nas.data.formats import check_regular
from acmix_nas.errors import DataError

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(slots=True)
class Identities:
    """Size and identity of many files, in 24 bytes a file.

    Attributes:
        sizes: Bytes of each, (N,); -1 where there is none.
        devices: Device of each, (N,).
        inodes: Inode of each on its device, (N,); 0 where there is none.
    """

    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    devices: "array[int]" = field(default_factory=lambda: array("Q"))
    inodes: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, path: str) -> None:
        """Takes a file; a link that leads nowhere is one of its own."""
        try:
            found = os.stat(path)  # noqa: PTH116  a Path for each of a million files takes long
        except OSError:
            size, device, inode = -1, 0, 0
        else:
            size, device, inode = found.st_size, found.st_dev, found.st_ino
        self.sizes.append(size)
        self.devices.append(device)
        self.inodes.append(inode)

    def only(self, places: Indices) -> "Identities":
        """Those at some places."""
        some = [
            array(kind.typecode, np.array(kind)[places].tolist()) for kind in (self.sizes, self.devices, self.inodes)
        ]
        return Identities(*some)

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

    def shared(self, other: "Identities") -> tuple[int, int] | None:
        """A place here and one there that are the same file; None where there are none."""
        both = Identities(self.sizes + other.sizes, self.devices + other.devices, self.inodes + other.inodes)
        count = len(self.sizes)
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


def check_files(parts: Mapping[str, Sequence[Path]]) -> None:
    """Refuses files with images that are no regular files, or that are there twice.

    Args:
        parts: The files of each part of a source.

    Raises:
        DataError: The message names them.
    """
    seen: dict[Identity, Path] = {}
    for files in parts.values():
        for file in files:
            check_regular(file)
            other = seen.setdefault(identity(file), file)
            if other is not file:
                raise DataError(
                    f"each file of a source is read once; {other} and {file} are one file. Remove the link."
                )
