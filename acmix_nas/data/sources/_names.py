"""Many file names in little memory: a million `Path` objects would take half a gigabyte."""

import os
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path

from timm.utils.misc import natural_key


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

    def add(self, folder: str, files: Iterable[str]) -> None:
        """Takes the files of one folder."""
        for name in files:
            self.add_one(folder, name)

    def add_one(self, folder: str, name: str) -> None:
        """Takes one file; those of a folder follow each other."""
        if not self._folders or self._folders[-1] != folder:
            self._folders.append(folder)
        self._bytes += os.fsencode(name)
        self._ends.append(len(self._bytes))
        self._folder_of.append(len(self._folders) - 1)


def natural(paths: Iterable[Path]) -> list[Path]:
    """Paths in natural order, "9" before "10"."""
    key: Callable[[str], list[str | int]] = natural_key
    return sorted(paths, key=lambda path: key(str(path)))
