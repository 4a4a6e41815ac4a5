"""Decodes images into uint8 tensors, in threads, naming broken ones and counting unusual ones."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from acmix_nas.data.draw import Indices
from acmix_nas.data.formats import FORMATS
from acmix_nas.data.source import Part
from acmix_nas.errors import AcmixError, DataError
from acmix_nas.machine import cores
from acmix_nas.sizes import Size, pair, size_text

BROKEN_SHARE = 0.01
"""A source with a larger share of unreadable files is refused."""

Progress = Callable[[int, int], None]

_BATCH = 32
"""Images that a thread decodes in one go: a million tasks of their own would cost a gigabyte."""
_SIXTEEN_BITS = ("PNG", "PPM")
"""Formats whose 16 bits a pixel Pillow may hold in 32."""
_ORIENTATION = 0x0112
"""The EXIF field; 1 is upright."""


@dataclass(slots=True)
class Decoded:
    """Images of one part.

    Attributes:
        images: uint8 (N, 3, H, W); zero where broken.
        broken: Reason for each place that could not be decoded.
        traits: How many of the others were of which unusual kind, by the names of `traits_of`.
    """

    images: torch.Tensor
    broken: dict[int, str] = field(default_factory=dict)
    traits: Counter[str] = field(default_factory=Counter)

    def kept(self) -> Indices:
        """The places that were decoded."""
        return np.setdiff1d(np.arange(len(self.images)), np.array(list(self.broken), dtype=np.int64))


def decode(part: Part, chosen: Indices, *, input_size: Size, progress: Callable[[int], None] | None = None) -> Decoded:
    """Decodes images as RGB: scaled until they cover `input_size`, the centre cut out, turned as EXIF says.

    Args:
        part: The images.
        chosen: Which of them.
        input_size: Height and width of the result in pixels.
        progress: Called with how many more images are done, in the calling thread.

    Raises:
        DataError: The result does not fit into memory.
    """
    check_memory(len(chosen), input_size)
    images = torch.zeros((len(chosen), 3, *pair(input_size)), dtype=torch.uint8)
    decoded = Decoded(images)
    starts = range(0, len(chosen), _BATCH)
    with _threads() as pool:
        for batch in pool.map(lambda start: _decode_batch(images, part, chosen, start), starts):
            decoded.broken |= batch.broken
            decoded.traits += batch.traits
            if progress is not None:
                progress(len(batch.images))
    return decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One image as it is stored.

    Attributes:
        width: In pixels.
        height: In pixels.
        format: Of the file; "pixels" for an image that is stored decoded.
        mode: Pillow's name of the kind of pixels.
        traits: What is unusual, by the names of `traits_of`.
    """

    width: int
    height: int
    format: str
    mode: str
    traits: tuple[str, ...]


def inspect(part: Part, chosen: Indices) -> Iterator[tuple[int, Look | str]]:
    """Decodes images at their full size and forgets the pixels.

    Yields:
        The index of each, and what was seen or why it cannot be decoded.
    """
    with _threads() as pool:
        yield from zip(chosen.tolist(), pool.map(lambda index: _look(part, index), chosen.tolist()), strict=True)


def decode_image(image: Image.Image, input_size: Size) -> npt.NDArray[np.uint8]:
    """One opened image as uint8 (H, W, 3)."""
    height, width = pair(input_size)
    # Lets JPEG be decoded at 1/2, 1/4 or 1/8 of its size, which averages blocks. Of photographs decoded at 64 and 112
    # pixels, values then differ from those of a full decoding by 0.9 and 0.6 of 255 if twice the size is kept for
    # resampling, and by 2.2 if the size itself is; it takes a tenth longer.
    image.draft("RGB", (2 * width, 2 * height))
    return np.asarray(ImageOps.fit(upright(image), (width, height), Image.Resampling.BICUBIC))


def traits_of(image: Image.Image) -> tuple[str, ...]:
    """What is unusual in how an opened image is stored; decoding turns each of these into 8-bit RGB."""
    found = {
        "greyscale": image.mode in ("1", "L", "LA") or image.mode.startswith("I"),
        "cmyk": image.mode == "CMYK",
        "palette": image.mode in ("P", "PA"),
        "sixteen_bit": image.mode.startswith("I"),
        "transparent": "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa"),
        "several_frames": image.format != "MPO" and getattr(image, "is_animated", False),
        "exif_rotated": image.getexif().get(_ORIENTATION, 1) != 1,
    }
    return tuple(name for name, is_so in found.items() if is_so)


def check_broken(reasons: list[str], total: int, allowed: float = BROKEN_SHARE, fix: str = "") -> None:
    """Refuses too many broken images.

    Args:
        reasons: "file (reason)" of each broken image.
        total: Number of images.
        allowed: Share of them that may be broken.
        fix: A further way out.

    Raises:
        DataError: There are more.
    """
    if len(reasons) > allowed * total:
        raise DataError(
            f"at most {allowed:.0%} of the images may be unreadable; {len(reasons)} of {total} are: "
            f"{'; '.join(reasons[:5])}{'; ...' if len(reasons) > 5 else ''}. Repair or remove them{fix}."
        )


def check_memory(count: int, size: Size) -> None:
    """Refuses decoded images, `count` of a size, that do not fit into memory.

    Raises:
        DataError: They do not.
    """
    need, have = count * 3 * prod(pair(size)), available_memory()
    if have is not None and need > 0.8 * have:
        raise DataError(
            f"decoded images are kept in memory: {count} images of {size_text(pair(size))} pixels need "
            f"{need / 1e9:.1f} GB, {have / 1e9:.1f} GB are free. Take fewer images or a smaller "
            "input size, or make a store with `acmix data subset` and take all its images, which stay on disk."
        )


def available_memory() -> int | None:
    """Bytes that can still be used; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    with suppress(OSError, ValueError):  # no control group, or one without a limit
        free = min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return free


def broken_reason(error: Exception) -> str:
    """Why an image is broken, in one line."""
    if isinstance(error, UnidentifiedImageError):  # its own message names the object in memory
        return f"UnidentifiedImageError: none of {', '.join(FORMATS)}"
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _decode_batch(images: torch.Tensor, part: Part, chosen: Indices, start: int) -> Decoded:
    batch = Decoded(images[start : start + _BATCH])
    for place in range(len(batch.images)):
        try:
            with part.open(int(chosen[start + place])) as image:
                traits = traits_of(image)
                pixels = decode_image(image, (images.shape[-2], images.shape[-1]))
        except AcmixError:
            raise
        except Exception as error:  # Pillow lets through whatever its readers of damaged fields raise
            batch.broken[start + place] = broken_reason(error)
        else:
            batch.images[place].copy_(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
            batch.traits.update(traits)
    return batch


def _look(part: Part, index: int) -> Look | str:
    try:
        with part.open(index) as image:
            look = Look(
                width=image.width,
                height=image.height,
                format=image.format or "pixels",
                mode=image.mode,
                traits=traits_of(image),
            )
            image.load()
            upright(image)  # what training does with it may fail where its pixels do not
    except AcmixError:
        raise
    except Exception as error:  # as in _decode_batch
        return broken_reason(error)
    return look


def upright(image: Image.Image) -> Image.Image:
    """An opened image as 8-bit RGB, turned as EXIF says."""
    if image.mode == "F" or (image.mode == "I" and image.format not in _SIXTEEN_BITS):
        raise ValueError("its pixels have 32 bits, and nothing says which are black and white")
    return _to_rgb(ImageOps.exif_transpose(image))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip to white
        return Image.fromarray((np.asarray(image) // 256).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """A thread for each core; an interrupt drops what was not begun."""
    with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
        # Pillow warns of odd metadata in files that it decodes well.
        warnings.filterwarnings("ignore", module="PIL")
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
