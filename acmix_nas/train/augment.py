"""Batches of images cropped, moved, mirrored and recoloured all at once, on the device they lie on.

What is random is drawn first, on the CPU and for whole batches, so that a batch that several processes share is the
batch that one would have.
"""

import math
from typing import NamedTuple

import torch
from torch.nn import functional as F

TRIES = 10
RATIO = (3 / 4, 4 / 3)
"""Boxes are tried so often, and their sides have a ratio between these, as in Szegedy 2015, arXiv 1409.4842."""
CENTRE = 0.875
"""Share of an image's extent that is scored if the image is larger: 224 of 256, as in He 2016, arXiv 1512.03385."""
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in brightness, ITU-R BT.601."""


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


def draw_shifts(count: int, largest: int, generator: torch.Generator) -> Shifts:
    """Draws a shift of up to `largest` pixels each way for each of `count` images; every second one is mirrored."""
    top = torch.randint(0, 2 * largest + 1, (count, 1), generator=generator)
    left = torch.randint(0, 2 * largest + 1, (count, 1), generator=generator)
    return Shifts(top, left, torch.rand(count, 1, generator=generator) < 0.5)


def shift_and_flip(images: torch.Tensor, shifts: Shifts, largest: int) -> torch.Tensor:
    """Moves every image, zeros coming in, and mirrors some.

    Args:
        images: (B, C, H, W), any dtype.
        shifts: Of `draw_shifts`.
        largest: Largest shift in pixels, as it was there.

    Returns:
        (B, C, H, W) of the same dtype.
    """
    count, channels, height, width = images.shape
    device = images.device
    top, left, mirrored = (part.to(device, non_blocking=True) for part in shifts)
    if not largest:
        return torch.where(mirrored[:, :, None, None], images.flip(-1), images)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, [largest] * 4)
    each_image = torch.arange(count, device=device)[:, None, None, None]
    each_channel = torch.arange(channels, device=device)[None, :, None, None]
    return padded[each_image, each_channel, rows[:, None, :, None], columns[:, None, None, :]]


def draw_boxes(count: int, extent: int, scale: tuple[float, float], generator: torch.Generator) -> torch.Tensor:
    """Draws a box in each of `count` square images, as random resized crops have it.

    The area is uniform in `scale`, the ratio of the sides log-uniform in `RATIO`; the first of `TRIES` boxes that fits
    is taken, the whole image if none does.

    Args:
        count: Number of images.
        extent: Height and width in pixels.
        scale: Smallest and largest share of the image's area.
        generator: Source of all randomness, on the CPU.

    Returns:
        int64 (B, 4): top, left, height, width.
    """
    area, ratio, y, x = torch.rand(4, count, TRIES, generator=generator)
    sides = extent * (scale[0] + (scale[1] - scale[0]) * area).sqrt()
    root = (math.log(RATIO[0]) + (math.log(RATIO[1]) - math.log(RATIO[0])) * ratio).div(2).exp()
    heights, widths = (sides / root).round().long(), (sides * root).round().long()
    fits = (heights > 0) & (widths > 0) & (heights <= extent) & (widths <= extent)
    tops, lefts = (y * (extent - heights + 1)).long(), (x * (extent - widths + 1)).long()
    boxes = torch.stack([tops, lefts, heights, widths], dim=-1)
    first = boxes[torch.arange(count), fits.int().argmax(1)]
    return torch.where(fits.any(1, keepdim=True), first, torch.tensor([0, 0, extent, extent]))


def centre_boxes(count: int, extent: int, size: int) -> torch.Tensor:
    """The part of square images that is scored at `size` pixels: the inner `CENTRE`, never less than `size` pixels."""
    side = max(round(CENTRE * extent), min(size, extent))
    start = (extent - side) // 2
    return torch.tensor([start, start, side, side]).expand(count, 4)


def resample(images: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    """Scales a box of each image to `size` x `size` pixels, bilinearly and without aliasing.

    Both passes are matrix products with the triangle filter, so that a batch with a box for each image is one product:
    out = Y x X^T with Y, X of shape (size, extent) for each image.

    Args:
        images: (B, C, H, W), any dtype.
        boxes: (B, 4): top, left, height, width in pixels.
        size: Height and width of the result in pixels.

    Returns:
        float32 (B, C, size, size), in channels-last memory.
    """
    count, channels, height, width = images.shape
    boxes = boxes.to(images.device, non_blocking=True)
    vertical = _filter(boxes[:, 0], boxes[:, 2], height, size)
    horizontal = _filter(boxes[:, 1], boxes[:, 3], width, size)
    rows = torch.bmm(images.float().reshape(count, channels * height, width), horizontal.transpose(1, 2))
    rows = rows.reshape(count, channels, height, size).permute(0, 2, 3, 1).reshape(count, height, size * channels)
    return torch.bmm(vertical, rows).reshape(count, size, size, channels).permute(0, 3, 1, 2)


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


def _filter(starts: torch.Tensor, lengths: torch.Tensor, extent: int, size: int) -> torch.Tensor:
    """Weights (B, size, extent) of a triangle filter that scales `lengths` pixels from `starts` on to `size` ones."""
    device = starts.device
    scale = (lengths / size)[:, None, None]
    centre = (torch.arange(size, device=device)[:, None] + 0.5) * scale
    place = (torch.arange(extent, device=device) - starts[:, None])[:, None, :]
    weights = (1 - (place + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((place >= 0) & (place < lengths[:, None, None]))
    return weights / weights.sum(-1, keepdim=True)


def _grey(pixels: torch.Tensor) -> torch.Tensor:
    if pixels.shape[1] == 1:
        return pixels
    return (pixels * torch.tensor(LUMA, device=pixels.device)[:, None, None]).sum(1, keepdim=True)
