"""Decodes image files into one uint8 tensor, in threads, skipping and naming broken files."""

import os
import struct
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from acmix_nas.errors import DataError

BROKEN_SHARE = 0.01
"""A source with a larger share of unreadable files is refused."""

_BATCH = 32
"""Files that a thread decodes in one go: a million tasks of their own would cost a gigabyte."""
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for files that are no images, or end too early."""


def decode(
    paths: list[Path], *, input_size: int, progress: Callable[[int, int], None] | None = None
) -> tuple[torch.Tensor, dict[int, str]]:
    """Decodes images as RGB: shorter side scaled to `input_size`, the centre cut out, turned as EXIF says.

    Args:
        paths: The files.
        input_size: Height and width of the result in pixels.
        progress: Called with (images done, images in all), in the calling thread.

    Returns:
        Images, uint8 (N, 3, input_size, input_size), and the reason for each index that could not be decoded (its
        pixels are zero).

    Raises:
        DataError: The result does not fit into memory, or more than one file in a hundred is broken.
    """
    _check_memory(len(paths), input_size)
    images = torch.zeros((len(paths), 3, input_size, input_size), dtype=torch.uint8)
    broken: dict[int, str] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor(_threads()) as pool:
        # Pillow warns of odd metadata in files that it decodes well.
        warnings.filterwarnings("ignore", module="PIL")
        starts = range(0, len(paths), _BATCH)
        for start, reasons in zip(
            starts, pool.map(lambda start: _decode_batch(images, paths, start), starts), strict=True
        ):
            broken |= reasons
            if progress is not None:
                progress(min(start + _BATCH, len(paths)), len(paths))
    _check_broken(paths, broken)
    return images, broken


def decode_image(path: Path, input_size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One image as uint8 (input_size, input_size, 3)."""
    with Image.open(path) as image:
        # For JPEG, decodes at the smallest of the sizes 1/1, 1/2, 1/4, 1/8 that is large enough.
        image.draft("RGB", (input_size, input_size))
        upright = _to_rgb(ImageOps.exif_transpose(image))
    return np.asarray(ImageOps.fit(upright, (input_size, input_size), Image.Resampling.BICUBIC))


def available_memory() -> int | None:
    """Bytes that can still be used; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        return min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return free


def _decode_batch(images: torch.Tensor, paths: list[Path], start: int) -> dict[int, str]:
    reasons = ((index, _decode_into(images[index], paths[index])) for index in range(start, len(paths))[:_BATCH])
    return {index: reason for index, reason in reasons if reason is not None}


def _decode_into(image: torch.Tensor, path: Path) -> str | None:
    try:
        pixels = decode_image(path, image.shape[-1])
    except _BROKEN as error:
        return f"{type(error).__name__}: {error}"
    image.copy_(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
    return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip to white
        return Image.fromarray((np.asarray(image) // 256).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_memory(count: int, input_size: int) -> None:
    need, have = count * 3 * input_size**2, available_memory()
    if have is not None and need > 0.8 * have:
        raise DataError(
            f"decoded images are kept in memory: {count} images of {input_size} x {input_size} pixels need "
            f"{need / 1e9:.1f} GB, {have / 1e9:.1f} GB are free. Take fewer images or a smaller input size."
        )


def _check_broken(paths: list[Path], broken: dict[int, str]) -> None:
    if len(broken) > BROKEN_SHARE * len(paths):
        shown = "; ".join(f"{paths[index]} ({reason})" for index, reason in list(broken.items())[:5])
        raise DataError(
            f"at most {BROKEN_SHARE:.0%} of the images may be unreadable; {len(broken)} of {len(paths)} are: {shown}"
            f"{'; ...' if len(broken) > 5 else ''}. Repair or remove them."
        )
