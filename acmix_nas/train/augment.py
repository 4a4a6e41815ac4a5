"""Augmentation: batches of images cropped, moved, mirrored and recoloured on their device, and what timm does to them.

What is random is drawn first, on the CPU and for whole batches, so that a batch that several processes share is the
batch that one would have. timm draws from the global generators of `random` and `numpy` for RandAugment and random
erasing; each use of them is seeded and leaves no trace.
"""

import math
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import posterize, rand_augment_transform
from timm.data.random_erasing import RandomErasing
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from acmix_nas.data import Images
from acmix_nas.data.draw import seeded
from acmix_nas.sizes import Pair, fitted
from acmix_nas.train.ranks import rank, world

TRIES = 10
RATIO = (3 / 4, 4 / 3)
"""Boxes that are tried, and between which ratios of their sides, as in Szegedy 2015, arXiv 1409.4842."""
CENTRE = 0.875
"""Share of an image's height and width that is scored if it is larger: 224 of 256, as in He 2016, arXiv 1512.03385."""
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in brightness, ITU-R BT.601."""

Item: TypeAlias = tuple[int, int, tuple[int, int, int, int]]
"""Index of an image, seed of its augmentation, box (top, left, height, width) that is cut out."""


class Shifts(NamedTuple):
    """Where each image of a batch goes.

    Attributes:
        top: Rows that it moves up from the lowest place, (B, 1).
        left: Columns that it moves left from the rightmost place, (B, 1).
        mirrored: Whether it is mirrored, (B, 1).
    """

    top: torch.Tensor
    left: torch.Tensor
    mirrored: torch.Tensor


class Draws(NamedTuple):
    """Which images a process trains on in one step, and how they are changed: all that is random in it.

    Attributes:
        numbers: Which ones, (B,).
        shifts: How they move.
        boxes: What is cut out of them, (B, 4); None for all of them.
        factors: How they are recoloured, (B, 3); None for not at all.
        seed: Seed of what timm draws and of what mixes images; 0 if nothing is.
        counted: As in `Batch`.
        whole: As in `Batch`.
    """

    numbers: torch.Tensor
    shifts: Shifts
    boxes: torch.Tensor | None
    factors: torch.Tensor | None
    seed: int
    counted: int
    whole: int

    def own(self) -> "Draws":
        """What this process does of it: every n-th image; others of the step follow where that is less than two."""
        if world() == 1:
            return self
        part, counted = own_part(len(self.numbers))
        return self._replace(
            numbers=self.numbers[part],
            shifts=Shifts(*(draws[part] for draws in self.shifts)),
            boxes=None if self.boxes is None else self.boxes[part],
            factors=None if self.factors is None else self.factors[part],
            seed=self.seed + rank() * self.whole,
            counted=counted,
        )


def own_part(count: int) -> tuple[torch.Tensor, int]:
    """Which images of a step this process trains on, and how many of them count: others follow where it has under two.

    Args:
        count: Images of the step over all processes.
    """
    everyone = list(range(count))
    own = everyone[rank() :: world()]
    others = [index for index in everyone if index not in own]
    return torch.tensor(own + (others[: max(0, 2 - len(own))] if world() > 1 else [])), len(own)


def draw_shifts(count: int, largest: Pair, generator: torch.Generator) -> Shifts:
    """Draws a shift of up to `largest` (rows, columns) each way for each image; every second one is mirrored."""
    top = torch.randint(0, 2 * largest[0] + 1, (count, 1), generator=generator)
    left = torch.randint(0, 2 * largest[1] + 1, (count, 1), generator=generator)
    return Shifts(top, left, torch.rand(count, 1, generator=generator) < 0.5)


def shift_and_flip(images: torch.Tensor, shifts: Shifts, largest: Pair) -> torch.Tensor:
    """Moves every image, zeros coming in, and mirrors some.

    Args:
        images: (B, C, H, W), any dtype.
        shifts: Of `draw_shifts`.
        largest: Largest shift in rows and columns, as it was there.

    Returns:
        (B, C, H, W) of the same dtype.
    """
    count, channels, height, width = images.shape
    device = images.device
    top, left, mirrored = (part.to(device, non_blocking=True) for part in shifts)
    if not any(largest):
        return torch.where(mirrored[:, :, None, None], images.flip(-1), images)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, [largest[1], largest[1], largest[0], largest[0]])
    each_image = torch.arange(count, device=device)[:, None, None, None]
    each_channel = torch.arange(channels, device=device)[None, :, None, None]
    return padded[each_image, each_channel, rows[:, None, :, None], columns[:, None, None, :]]


def draw_boxes(count: int, size: Pair, scale: tuple[float, float], generator: torch.Generator) -> torch.Tensor:
    """Draws a box in each of `count` images, as random resized crops have it.

    The area is uniform in `scale`, the ratio of the sides log-uniform in `RATIO`; the first of `TRIES` boxes that fits
    is taken, the whole image if none does.

    Args:
        count: Number of images.
        size: Height and width of the images in pixels.
        scale: Smallest and largest share of the image's area.
        generator: Source of all randomness, on the CPU.

    Returns:
        int64 (B, 4): top, left, height, width.
    """
    area, ratio, y, x = torch.rand(4, count, TRIES, generator=generator)
    sides = math.sqrt(size[0] * size[1]) * (scale[0] + (scale[1] - scale[0]) * area).sqrt()
    root = (math.log(RATIO[0]) + (math.log(RATIO[1]) - math.log(RATIO[0])) * ratio).div(2).exp()
    heights, widths = (sides / root).round().long(), (sides * root).round().long()
    fits = (heights > 0) & (widths > 0) & (heights <= size[0]) & (widths <= size[1])
    tops, lefts = (y * (size[0] - heights + 1)).long(), (x * (size[1] - widths + 1)).long()
    boxes = torch.stack([tops, lefts, heights, widths], dim=-1)
    first = boxes[torch.arange(count), fits.int().argmax(1)]
    return torch.where(fits.any(1, keepdim=True), first, torch.tensor([0, 0, *size]))


def centre_boxes(count: int, stored: Pair, size: Pair, share: float = CENTRE) -> torch.Tensor:
    """The middle of images that is scored at `size` pixels.

    Args:
        count: Number of images.
        stored: Their height and width in pixels.
        size: Height and width of what is scored. The middle has the same shape and is never smaller.
        share: Share of the largest such middle's height and width.

    Returns:
        int64 (B, 4): top, left, height, width.
    """
    fit = zip(fitted(stored, size), size, strict=True)
    height, width = (max(round(share * side), min(least, side)) for side, least in fit)
    top, left = (stored[0] - height) // 2, (stored[1] - width) // 2
    return torch.tensor([top, left, height, width]).expand(count, 4)


def resample(images: torch.Tensor, boxes: torch.Tensor, size: Pair) -> torch.Tensor:
    """Scales a box of each image to `size`, bilinearly and without aliasing.

    Both passes are matrix products with the triangle filter, so that a batch with a box for each image is one product:
    out = Y x X^T with Y of shape (size, H) and X of shape (size, W) for each image.

    Args:
        images: (B, C, H, W), any dtype.
        boxes: (B, 4): top, left, height, width in pixels.
        size: Height and width of the result in pixels.

    Returns:
        float32 (B, C, *size), in channels-last memory.
    """
    count, channels, height, width = images.shape
    boxes = boxes.to(images.device, non_blocking=True)
    vertical = _filter(boxes[:, 0], boxes[:, 2], height, size[0])
    horizontal = _filter(boxes[:, 1], boxes[:, 3], width, size[1])
    rows = torch.bmm(images.float().reshape(count, channels * height, width), horizontal.transpose(1, 2))
    rows = rows.reshape(count, channels, height, size[1]).permute(0, 2, 3, 1).reshape(count, height, size[1] * channels)
    return torch.bmm(vertical, rows).reshape(count, *size, channels).permute(0, 3, 1, 2)


def draw_jitter(count: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Draws factors of brightness, contrast and saturation in [1 - strength, 1 + strength], (B, 3)."""
    factors = 1 + strength * (2 * torch.rand(count, 3, generator=generator) - 1)
    return factors.clamp(min=0)


def jitter(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Changes brightness, then contrast, then saturation of each image.

    Each blends the image with another: black, the mean of its grey picture, its grey picture.

    Args:
        images: (B, C, H, W) with pixels in [0, 255], C = 1 or 3.
        factors: (B, 3).

    Returns:
        float32 (B, C, H, W) in [0, 255].
    """
    brightness, contrast, saturation = factors.to(images.device)[:, :, None, None, None].unbind(1)
    pixels = (images.float() * brightness).clamp(0, 255)
    mean = _grey(pixels).mean((1, 2, 3), keepdim=True)
    pixels = torch.lerp(mean, pixels, contrast).clamp(0, 255)
    return torch.lerp(_grey(pixels), pixels, saturation).clamp(0, 255)


def normalise(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) in [0, 255] -> float32 with the given mean and standard deviation of [0, 1] pixels taken out."""
    return (images.float() / 255 - mean[:, None, None]) / std[:, None, None]


def _filter(starts: torch.Tensor, lengths: torch.Tensor, pixels: int, size: int) -> torch.Tensor:
    """Weights (B, size, pixels) of a triangle filter that scales `lengths` pixels from `starts` on to `size` ones."""
    device = starts.device
    scale = (lengths / size)[:, None, None]
    centre = (torch.arange(size, device=device)[:, None] + 0.5) * scale
    place = (torch.arange(pixels, device=device) - starts[:, None])[:, None, :]
    weights = (1 - (place + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((place >= 0) & (place < lengths[:, None, None]))
    return weights / weights.sum(-1, keepdim=True)


def _grey(pixels: torch.Tensor) -> torch.Tensor:
    if pixels.shape[1] == 1:
        return pixels
    return (pixels * torch.tensor(LUMA, device=pixels.device)[:, None, None]).sum(1, keepdim=True)


class RandAugmented(Dataset[torch.Tensor]):
    """Images that are cropped, scaled and RandAugmented by Pillow, each from a seed of its own.

    Args:
        images: uint8 images.
        size: Height and width of the results in pixels.
        recipe: timm's text, as "rand-m9-mstd0.5-inc1".
        mean: Of each channel in [0, 1]; fills what comes in from outside.
    """

    def __init__(self, images: Images, size: Pair, recipe: str, mean: tuple[float, ...]) -> None:
        fill = tuple(round(255 * value) for value in (mean if len(mean) == 3 else mean * 3))
        options = {
            "translate_const": int(0.45 * min(size)),
            "img_mean": fill,
            "interpolation": Image.Resampling.BICUBIC,
        }
        self._images = images.pixels
        self._size = size
        self._change = rand_augment_transform(recipe, options)
        for operation in self._change.ops:
            if operation.aug_fn is posterize:
                operation.aug_fn = posterized

    def __getitem__(self, item: Item) -> torch.Tensor:
        """uint8 (C, *size)."""
        index, seed, (top, left, rows, columns) = item
        pixels = self._images[index].permute(1, 2, 0).numpy()
        mode = "RGB" if pixels.shape[-1] == 3 else "L"
        picture = Image.fromarray(pixels if mode == "RGB" else pixels[..., 0]).convert("RGB")
        picture = picture.crop((left, top, left + columns, top + rows))
        height, width = self._size
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        with seeded(seed):
            picture = self._change(picture)
        changed = np.array(picture.convert(mode))
        return torch.from_numpy(changed).reshape(height, width, -1).permute(2, 0, 1)

    def batches(self, each: Iterator[Draws], workers: int) -> Iterator[tuple[Draws, torch.Tensor]]:
        """The images of each batch, made by several processes; the result does not depend on their number."""
        waiting: deque[Draws] = deque()

        def items() -> Iterator[list[Item]]:
            for draws in each:
                waiting.append(draws)
                seeds = range(draws.seed, draws.seed + len(draws.numbers))
                assert draws.boxes is not None
                yield list(zip(draws.numbers.tolist(), seeds, map(tuple, draws.boxes.tolist()), strict=True))

        for images in DataLoader(self, batch_sampler=items(), num_workers=workers):
            yield waiting.popleft(), images


def posterized(picture: Image.Image, bits: int, **options: Any) -> Image.Image:
    """As timm's `posterize`, black where no bit is left: what timm with Pillow 12 computes.

    timm asks for 0 bits at the largest magnitudes, or at the smallest of what decreases with them; Pillow 13 refuses.
    """
    if bits < 1:
        return Image.new(picture.mode, picture.size)
    kept: Image.Image = posterize(picture, bits, **options)  # type: ignore[no-untyped-call]
    return kept


class Erasing:
    """Random erasing (Zhong 2020, arXiv 1708.04896): noise in a rectangle of some images.

    Args:
        share: Share of images with a rectangle.
        device: Where the images lie.
    """

    def __init__(self, share: float, device: str) -> None:
        self._erase: Any = RandomErasing(share, mode="pixel", device=device)  # type: ignore[no-untyped-call]

    def __call__(self, images: torch.Tensor, seed: int) -> torch.Tensor:
        """Erases in place, with noise of torch's own generator."""
        with seeded(seed):
            erased: torch.Tensor = self._erase(images)
        return erased
