"""Tar files without unpacking: where each member lies, so that any of them is one read away."""

import io
import tarfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from acmix_nas.data.draw import Indices
from acmix_nas.data.sources._names import Names, extensions
from acmix_nas.errors import DataError

MAX_DEPTH = 3
"""ImageNet's own train.tar has a tar file for each class inside."""

Member = tuple[str, int, int]
"""Name, first byte and number of bytes of a file in a tar file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Images of one part that lie in tar files.

    Attributes:
        files: "TAR/MEMBER" of each.
        tars: The tar files.
        tar_of: Which of them an image lies in, (N,).
        starts: First byte of each, (N,).
        sizes: Bytes of each, (N,).
        labels: Class of each, (N,).
    """

    files: Names
    tars: list[Path]
    tar_of: Indices
    starts: Indices
    sizes: Indices
    labels: Indices

    def name(self, index: int) -> str:
        """The tar file and the member's name in it."""
        return str(self.files[index])

    def open(self, index: int) -> Image.Image:
        """The image of a member."""
        with self.tars[self.tar_of[index]].open("rb") as file:
            file.seek(int(self.starts[index]))
            return Image.open(io.BytesIO(file.read(int(self.sizes[index]))))


@dataclass(slots=True)
class Found:
    """Images and their classes while tar files are gone through."""

    tars: list[Path] = field(default_factory=list)
    files: Names = field(default_factory=Names)
    tar_of: "array[int]" = field(default_factory=lambda: array("i"))
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    labels: "array[int]" = field(default_factory=lambda: array("q"))

    def begin(self, tar: Path) -> None:
        """The images that follow lie in this file."""
        self.tars.append(tar)

    def add(self, member: Member, label: int) -> None:
        """Takes an image."""
        name, start, size = member
        self.files.add_one(str(self.tars[-1]), name)
        self.tar_of.append(len(self.tars) - 1)
        self.starts.append(start)
        self.sizes.append(size)
        self.labels.append(label)

    def part(self, number: Indices | None = None) -> Members:
        """The images, their labels put through `number` where there is one."""
        labels = np.array(self.labels, dtype=np.int64)
        return Members(
            files=self.files,
            tars=self.tars,
            tar_of=np.array(self.tar_of, dtype=np.int64),
            starts=np.array(self.starts, dtype=np.int64),
            sizes=np.array(self.sizes, dtype=np.int64),
            labels=labels if number is None else number[labels],
        )

    def facts(self) -> Iterator[str | bytes]:
        """What tells these images from others."""
        for tar in self.tars:
            yield f"{tar.name}\t{tar.stat().st_size}\n"
        yield from (np.array(values, dtype=np.int64).tobytes() for values in (self.sizes, self.labels))


def members(tar: Path) -> Iterator[Member]:
    """The regular files in a tar file, in its order; those of a tar file inside it under that one's name.

    Raises:
        DataError: It is no uncompressed tar file, or not whole.
    """
    try:
        with tar.open("rb") as file:
            yield from _members(file, 0, "")
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{tar} cannot be read as an uncompressed tar file: {error}. Is it whole? Unpack a compressed one."
        ) from error


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image, by timm's list of extensions; hidden files are none."""
    path = Path(name)
    return path.suffix.lower() in extensions() and not path.name.startswith(".")


def has_class_files(tar: Path) -> bool:
    """Whether a tar file has labels in files of their own, as WebDataset's shards do."""
    return any(name.endswith(".cls") for name, _, _ in islice(members(tar), 20))


def _members(file: IO[bytes], offset: int, folder: str, depth: int = 0) -> Iterator[Member]:
    if depth > MAX_DEPTH:
        raise tarfile.ReadError(f"more than {MAX_DEPTH} tar files lie inside each other")
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # else tarfile holds every member it has seen
            name = f"{folder}{info.name.removeprefix('./')}"
            if not info.isreg():
                continue
            if name.endswith(".tar"):
                inner = archive.extractfile(info)
                assert inner is not None, "a regular file"
                yield from _members(inner, offset + info.offset_data, name.removesuffix(".tar") + "/", depth + 1)
            else:
                yield name, offset + info.offset_data, info.size
