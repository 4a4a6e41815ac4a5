"""`StoredImages`: decoded images in a file, read when they are asked for and checked the first time."""

import os
import weakref
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from acmix_nas.errors import DataError
from acmix_nas.sizes import Size, pair

Checksums = npt.NDArray[np.uint64]
"""Of each image the first 8 bytes of the SHA-256 of its pixels, (N,)."""


class StoredImages:
    """uint8 images (N, 3, H, W) in a file; indexed as a tensor is, it gives tensors.

    A file that is mapped into memory and cut by somebody else kills the process that reads it (SIGBUS). This one is
    read with `pread`, which then says so; it is faster, too. The file stays open, so that a store that is replaced
    while a training reads it gives what it had. An image is compared with its checksum when it is first read.

    Args:
        file: Pixels of all images and nothing else.
        count: Number of images.
        size: Height and width in pixels, one number for squares.
        checksums: Of the images; None for a store without, as acmix-nas 0.1 made them.

    Raises:
        DataError: The file cannot be opened.
    """

    def __init__(self, file: Path, count: int, size: Size, checksums: Checksums | None = None) -> None:
        self.shape = torch.Size((count, 3, *pair(size)))
        self.checksums = checksums
        self._file = file
        self._checked = np.zeros(count, dtype=np.bool_)
        try:
            self._descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise DataError(f"{file} cannot be opened: {error}. Copy or make the store again.") from error
        weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int | slice | torch.Tensor) -> torch.Tensor:
        """Reads images: one for a number, several for a slice or a tensor of numbers.

        Raises:
            DataError: The file is shorter than it was, cannot be read, or has other pixels than its checksums say.
        """
        numbers = range(len(self))
        if isinstance(index, slice):
            return self._read(list(numbers[index]))
        if isinstance(index, torch.Tensor) and index.ndim:
            chosen = index.nonzero().flatten() if index.dtype == torch.bool else index
            return self._read([numbers[number] for number in chosen.tolist()])
        return self._read([numbers[int(index)]])[0]

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the file itself."""
        return StoredImages, (self._file, len(self), (self.shape[-2], self.shape[-1]), self.checksums)

    def numpy(self) -> npt.NDArray[np.uint8]:
        """All of them, in memory."""
        images: npt.NDArray[np.uint8] = self[:].numpy()
        return images

    def _read(self, numbers: list[int]) -> torch.Tensor:
        images = torch.empty((len(numbers), *self.shape[1:]), dtype=torch.uint8)
        each = self.shape[1:].numel()
        pixels = memoryview(images.numpy().reshape(-1))  # type: ignore[arg-type]  # mypy knows no buffers of NumPy
        for place, number in enumerate(numbers):
            self._fill(number, pixels[place * each : (place + 1) * each])
        return images

    def _fill(self, number: int, pixels: memoryview) -> None:
        start, done = number * len(pixels), 0
        while done < len(pixels):
            try:
                more = os.preadv(self._descriptor, [pixels[done:]], start + done)
            except OSError as error:
                raise DataError(f"{self._file} cannot be read: {error}. Copy or make the store again.") from error
            if not more:
                raise DataError(
                    f"{self._file} was truncated while it was read: image {number} ends at byte "
                    f"{start + len(pixels)}, the file at {os.fstat(self._descriptor).st_size}. Copy or make the "
                    "store again."
                )
            done += more
        if self.checksums is not None and not self._checked[number]:
            if checksum(pixels) != self.checksums[number]:
                raise DataError(
                    f"{self._file} has other pixels than the store was made with: the checksum of image {number} "
                    "differs. Copy or make the store again."
                )
            self._checked[number] = True


def checksum(pixels: bytes | memoryview) -> np.uint64:
    """Checksum of the pixels of one image."""
    return np.frombuffer(sha256(pixels).digest()[:8], dtype="<u8")[0]  # type: ignore[no-any-return]
