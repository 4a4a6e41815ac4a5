"""A part of a source whose images are decoded already: in memory or on disk."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch.nn import functional as F

from acmix_nas.data.draw import Indices
from acmix_nas.data.stored import StoredImages
from acmix_nas.sizes import Size, fitted, pair

Moments = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, of pixels in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Decoded images: a `Part` that is read without decoding.

    Attributes:
        images: uint8 (N, C, H, W), in memory or on disk.
        labels: Class of each image, (N,).
        where: Name of what they come from.
        moments: Mean and standard deviation where they are known.
        stored: Whether they are those of a store, which stay at its size.
    """

    images: torch.Tensor | StoredImages
    labels: Indices
    where: str
    moments: Moments | None = None
    stored: bool = False

    def name(self, index: int) -> str:
        """Its number."""
        return f"{self.where}, image {index}"

    def open(self, index: int) -> Image.Image:
        """The image as Pillow's."""
        pixels = self.images[index].permute(1, 2, 0).contiguous().numpy()
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def resize(images: torch.Tensor, size: Size) -> torch.Tensor:
    """uint8 images (N, C, H, W) at another size; what does not fit its shape is cut off evenly."""
    images = centre(images, size)
    if tuple(images.shape[-2:]) == pair(size):
        return images
    parts = [
        F.interpolate(part.float(), size=pair(size), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
        for part in torch.split(images, 1000)
    ]
    return torch.cat(parts)


def centre(images: torch.Tensor, size: Size) -> torch.Tensor:
    """The largest middle part of images (N, C, H, W) that has the shape of a size."""
    height, width = images.shape[-2:]
    rows, columns = fitted((height, width), size)
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[..., top : top + rows, left : left + columns]


def measure_moments(images: torch.Tensor | StoredImages) -> Moments:
    """Mean and standard deviation of each channel of uint8 images (N, C, H, W)."""
    total, squares = torch.zeros(images.shape[1]).double(), torch.zeros(images.shape[1]).double()
    for start in range(0, len(images), 64):
        values = images[start : start + 64].double() / 255
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
    count = images.shape.numel() / images.shape[1]
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=1 / 255)  # images of one flat colour
    return tuple(mean.tolist()), tuple(std.tolist())
