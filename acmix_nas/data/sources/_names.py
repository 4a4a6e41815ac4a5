"""Many file names in little memory: a million `Path` objects would take half a gigabyte."""

import os
import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path


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
    return sorted(paths, key=lambda path: in_order(str(path)))


def in_order(name: str) -> tuple[list[str | int], str]:
    """A key that sorts names in timm's natural order; those that it has as one, as "1" and "01", by their characters.

    Else the order would be that of the disk, and the images of two machines would have other numbers. timm's own key
    raises for a raised digit between others, as in "5\u00b26".
    """
    pieces: list[str | int] = [*re.split(r"(\d+)", name.lower())]
    pieces[1::2] = map(int, pieces[1::2])
    return pieces, name
