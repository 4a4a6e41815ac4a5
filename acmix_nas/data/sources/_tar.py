"""Tar files without unpacking: where each member lies, so that any of them is one read away."""

import os
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from acmix_nas.data.draw import Indices
from acmix_nas.data.fingerprint import Content, read_file
from acmix_nas.data.formats import check_regular, is_image, open_image
from acmix_nas.data.sources._files import Names, natural
from acmix_nas.errors import AcmixError, DataError

_COMPRESSED = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst", ".tzst")
_PROGRAMS = {b"\x1f\x8b": "gunzip", b"\xfd7zXZ\0": "unxz", b"BZh": "bunzip2", b"\x28\xb5\x2f\xfd": "unzstd"}
"""What a compressed file starts with, and the program that unpacks it."""

MAX_DEPTH = 3
"""ImageNet's own train.tar has a tar file for each class inside."""

Member = tuple[str, int, int]
"""Name, first byte and number of bytes of a file in a tar file."""


@dataclass(slots=True)
class Members:
    """Images of one part that lie in tar files, and their classes.

    Attributes:
        labels: Class of each, (N,), once the list is closed.
        names: "TAR/MEMBER" of each.
        tars: The tar files.
        tar_of: Which of them an image lies in, (N,).
        starts: First byte of each, (N,).
        sizes: Bytes of each, (N,).
        numbers: The labels that `add` was given, (N,).
    """

    labels: Indices = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    names: Names = field(default_factory=Names)
    tars: list[Path] = field(default_factory=list)
    tar_of: "array[int]" = field(default_factory=lambda: array("i"))
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    _hashes: "array[int]" = field(default_factory=lambda: array("q"))

    def name(self, index: int) -> str:
        """The tar file and the member's name in it."""
        return str(self.names[index])

    def open(self, index: int) -> Image.Image:
        """The image of a member."""
        with self.tars[self.tar_of[index]].open("rb") as file:
            file.seek(self.starts[index])
            return open_image(file.read(self.sizes[index]))

    def content(self, root: Path) -> Content:
        """What a fingerprint sees: the members, by their names below a folder or in the one tar file."""
        return Content(
            labels=self.labels,
            names=self.names.relative(root),
            sizes=np.array(self.sizes, dtype=np.int64),
            read=lambda index: read_file(self.tars[self.tar_of[index]], self.starts[index], self.sizes[index]),
        )

    def add(self, member: Member, number: int) -> None:
        """Takes an image in the last of the tar files."""
        name, start, size = member
        self.names.add(str(self.tars[-1]), name)
        self.tar_of.append(len(self.tars) - 1)
        self.starts.append(start)
        self.sizes.append(size)
        self.numbers.append(number)
        self._hashes.append(hash((len(self.tars), name)))

    def close(self) -> None:
        """No image follows: the labels are what the images were added with.

        Raises:
            DataError: A tar file has two images of one name.
        """
        hashes = np.array(self._hashes, dtype=np.int64)
        values, counts = np.unique(hashes, return_counts=True)
        for value in values[counts > 1]:
            names = [self.names.text(place) for place in np.flatnonzero(hashes == value).tolist()]
            if len({*names}) < len(names):
                raise DataError(
                    f"each name is in a tar file once; {names[0]} is there {len(names)} times, as after `tar -r`. "
                    "Unpack that file and pack it again."
                )
        self.labels = np.array(self.numbers, dtype=np.int64)

    def facts(self, labels: Indices) -> Iterator[str | bytes]:
        """How acmix-nas 0.1 identified these images."""
        for tar in self.tars:
            yield f"{tar.name}\t{tar.stat().st_size}\n"
        yield np.array(self.sizes, dtype=np.int64).tobytes()
        yield labels.tobytes()


def members(tar: Path, passed_over: Counter[str] | None = None) -> Iterator[Member]:
    """The regular files in a tar file, in its order; those of a tar file inside it under that one's name.

    tarfile takes a damaged header for the end. Here a tar file ends as tar ends it: with two blocks of zeros, and
    nothing but zeros after them.

    Args:
        tar: The file.
        passed_over: Counts the images that are no regular files in it, but links.

    Raises:
        DataError: It is no uncompressed tar file, or not whole.
    """
    check_regular(tar)
    passed_over = Counter() if passed_over is None else passed_over
    try:
        with tar.open("rb") as file:
            _check_packing(tar, file)
            yield from _members(file, 0, "", passed_over)
    except AcmixError:
        raise
    except Exception as error:  # tarfile lets through what a damaged field raises where it is read
        raise DataError(
            f"{tar} cannot be read as an uncompressed tar file: {error}. Is it complete? Copy or pack it again."
        ) from error


def has_class_files(tar: Path) -> bool:
    """Whether a tar file has labels in files of their own, as WebDataset's shards do: KEY.cls or KEY.json."""
    names = [name for name, _, _ in islice(members(tar), 20)]
    images = {name.partition(".")[0] for name in names if is_image(Path(name).name)}
    return any(name.endswith(".cls") or (name.endswith(".json") and name.partition(".")[0] in images) for name in names)


def find_tars(folder: Path, pattern: str) -> list[Path]:
    """Tar files, by a pattern of their names without ".tar", in natural order; else those that are compressed."""
    if found := natural(folder.glob(f"{pattern}.tar")):
        return found
    return natural(file for kind in _COMPRESSED for file in folder.glob(f"{pattern}{kind}"))


def is_tar(path: Path) -> bool:
    """Whether a file's name is that of a tar file, compressed or not."""
    return path.name.endswith((".tar", *_COMPRESSED))


def _check_packing(tar: Path, file: IO[bytes]) -> None:
    start = file.read(6)
    file.seek(0)
    for magic, program in _PROGRAMS.items():
        if start.startswith(magic):
            raise DataError(
                "images are read inside a tar file without unpacking it, which a compressed file does not allow; "
                f"{tar} is compressed. Unpack it first: {program} {tar}"
            )


def _members(file: IO[bytes], offset: int, folder: str, passed_over: Counter[str], depth: int = 0) -> Iterator[Member]:
    if depth > MAX_DEPTH:
        raise tarfile.ReadError(f"more than {MAX_DEPTH} tar files lie inside each other")
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (info := _next(archive, offset)) is not None:
            name = f"{folder}{info.name.removeprefix('./')}"
            if info.isreg() and name.endswith(".tar"):
                inner = archive.extractfile(info)
                assert inner is not None, "a regular file"
                inside = name.removesuffix(".tar") + "/"
                yield from _members(inner, offset + info.offset_data, inside, passed_over, depth + 1)
            elif info.isreg() and not info.issparse():
                if info.offset_data + info.size > length:
                    raise tarfile.ReadError(f"it is truncated at byte {offset + length:,}, inside {name}")
                yield name, offset + info.offset_data, info.size
            elif is_image(Path(name).name):
                passed_over["links or sparse files in a tar file"] += 1
        _check_end(file, archive.offset, offset)


def _next(archive: tarfile.TarFile, offset: int) -> tarfile.TarInfo | None:
    place = archive.offset
    try:
        info = archive.next()
    except tarfile.TarError as error:
        raise tarfile.ReadError(f"{error} after byte {offset + place:,}") from error
    archive.members = []  # type: ignore[attr-defined]  # else tarfile holds every member it has seen
    if info is not None and (info.size < 0 or archive.offset <= info.offset):  # else it goes round in circles
        raise tarfile.ReadError(f"the header at byte {offset + info.offset:,} has a wrong size")
    return info


def _check_end(file: IO[bytes], place: int, offset: int) -> None:
    """Raises a ReadError unless a tar file ends at a place as tar ends it."""
    file.seek(place)
    end = file.read(2 * tarfile.BLOCKSIZE)
    if end.strip(b"\0"):
        raise tarfile.ReadError(f"the header at byte {offset + place:,} is damaged")
    if len(end) < 2 * tarfile.BLOCKSIZE:
        raise tarfile.ReadError(
            f"it is truncated at byte {offset + place:,}: the two blocks of zeros that end it are missing"
        )
    while content := file.read(2**20):
        place += len(end)
        if content.strip(b"\0"):
            place += len(content) - len(content.lstrip(b"\0"))
            raise tarfile.ReadError(
                f"it ends before byte {offset + place:,}, where more follows: tar files are joined with `tar "
                "--concatenate`, not with `cat`"
            )
        end = content
