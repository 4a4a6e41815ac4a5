"""A fingerprint distinguishes images by their content: the same images have the same one on every machine and disk.

The rule, version 2. SHA-256, its first 16 hexadecimal digits after "2:", of

1. the names of the classes;
2. of each part, in order: the labels, and the names (relative to the source) and sizes of its pieces;
3. the SHA-256 of the content of pieces: of all of them where they have `WHOLE` bytes or fewer in all, else of a sample
   of as many bytes that depends on the number of pieces and their sizes alone.

A piece is an image's file, a member of a tar file, or a block of another kind of file. No date and no absolute path is
in it. Version 1, that of acmix-nas 0.1, is 16 digits without a prefix; it saw names and sizes of files, not content.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acmix_nas.data.draw import Indices

WHOLE = 2**28
"""Bytes of content that are read: all, or a sample of this size."""
PREFIX = "2:"

_BLOCK = 2**20
"""Bytes of a block of a file that has many images."""
_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio: multiples of it, modulo 2^64, spread evenly, however many are taken."""
_READERS, _TASK = 8, 64
"""Threads that read, which hides the latency of disks and networks, and pieces that one reads in one go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one part of a source consists of.

    Attributes:
        labels: Class of each image, (N,).
        names: Names of the pieces, relative to the source, as bytes.
        sizes: Bytes of each piece; -1 for one that cannot be read, (P,).
        read: Gives the content of piece number i; it is called from threads.
    """

    labels: Indices
    names: Iterable[bytes]
    sizes: Indices
    read: Callable[[int], bytes]


def fingerprint(classes: Sequence[str], parts: Sequence[Content]) -> str:
    """Fingerprint, by the current rule, of a source's parts."""
    hashed = hashlib.sha256(json.dumps(list(classes)).encode())
    for part in parts:
        hashed.update(json.dumps([len(part.labels), len(part.sizes)]).encode())
        hashed.update(part.labels.astype("<i8").tobytes() + part.sizes.astype("<i8").tobytes())
        for name in part.names:
            hashed.update(name + b"\n")
    for piece in _digests(parts):
        hashed.update(piece)
    return PREFIX + hashed.hexdigest()[:16]


def is_former(text: str) -> bool:
    """Whether a fingerprint is by the rule of acmix-nas 0.1."""
    return ":" not in text


def sample(sizes: Indices) -> Indices:
    """The pieces whose content is read, ascending: all, or of more than `WHOLE` bytes a sample spread over them."""
    sizes = sizes.clip(min=0)
    if sizes.sum() <= WHOLE:
        return np.arange(len(sizes))
    order = np.argsort(np.arange(len(sizes), dtype=np.uint64) * np.uint64(_GOLDEN), kind="stable")
    return np.sort(order[np.cumsum(sizes[order]) <= WHOLE])


def size_of(path: bytes | str | Path) -> int:
    """Bytes of a regular file; -1 for anything else, and for a link that leads nowhere."""
    try:
        found = os.stat(path)  # noqa: PTH116  a Path for each of a million files takes long
    except (OSError, ValueError):  # the name of a list has a NUL
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def read_file(path: str | Path, start: int = 0, size: int | None = None) -> bytes:
    """Content of a regular file; nothing where it cannot be read, which decoding will name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # which does not wait for the other end of a pipe
    except (OSError, ValueError):  # the name of a list has a NUL
        return b""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return b""
        return os.pread(descriptor, found.st_size if size is None else size, start)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def blocks_of_files(root: Path, files: Sequence[Path], labels: Indices) -> Content:
    """The content of files with many images in each, block by block."""
    pieces = [(file, start) for file in files for start in range(0, max(1, size_of(file)), _BLOCK)]
    return Content(
        labels=labels,
        names=(os.fsencode(f"{file.relative_to(root).as_posix()} {start}") for file, start in pieces),
        sizes=np.array([min(_BLOCK, size_of(file) - start) for file, start in pieces], dtype=np.int64),
        read=lambda index: read_file(*pieces[index], _BLOCK),
    )


def blocks_of_array(images: npt.NDArray[np.uint8], labels: Indices) -> Content:
    """The content of decoded images in memory, block by block."""
    flat = np.ascontiguousarray(images).reshape(-1)
    starts = range(0, len(flat), _BLOCK)
    return Content(
        labels=labels,
        names=[json.dumps(list(images.shape)).encode()],
        sizes=np.array([min(_BLOCK, len(flat) - start) for start in starts], dtype=np.int64),
        read=lambda index: flat[starts[index] : starts[index] + _BLOCK].tobytes(),
    )


def _digests(parts: Sequence[Content]) -> Iterator[bytes]:
    """SHA-256 of the content of the sampled pieces of all parts, 64 pieces at a time."""
    ends = np.cumsum([len(part.sizes) for part in parts])
    chosen = sample(np.concatenate([part.sizes for part in parts]))

    def read(start: int) -> bytes:
        digests = []
        for index in chosen[start : start + _TASK].tolist():
            number = int(np.searchsorted(ends, index, side="right"))
            part = parts[number]
            content = part.read(index - int(ends[number]) + len(part.sizes))
            digests.append(hashlib.sha256(content).digest())
        return b"".join(digests)

    with ThreadPoolExecutor(_READERS, thread_name_prefix="acmix-fingerprint") as pool:
        yield from pool.map(read, range(0, len(chosen), _TASK))
