"""Batches of uint8 images, shifted and flipped all at once."""

import torch
from torch.nn import functional as F


def shift_and_flip(images: torch.Tensor, largest: int, generator: torch.Generator) -> torch.Tensor:
    """Moves every image by up to `largest` pixels each way, zeros coming in, and mirrors every second one.

    Args:
        images: (B, C, H, W), any dtype.
        largest: Largest shift in pixels.
        generator: Source of all randomness, on the CPU.

    Returns:
        (B, C, H, W) of the same dtype.
    """
    count, channels, height, width = images.shape
    device = images.device
    top = torch.randint(0, 2 * largest + 1, (count, 1), generator=generator).to(device)
    left = torch.randint(0, 2 * largest + 1, (count, 1), generator=generator).to(device)
    mirrored = (torch.rand(count, 1, generator=generator) < 0.5).to(device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, [largest] * 4)
    each_image = torch.arange(count, device=device)[:, None, None, None]
    each_channel = torch.arange(channels, device=device)[None, :, None, None]
    return padded[each_image, each_channel, rows[:, None, :, None], columns[:, None, None, :]]


def normalise(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """uint8 (B, C, H, W) -> float32 with the given mean and standard deviation of [0, 1] pixels taken out."""
    return (images.float() / 255 - mean[:, None, None]) / std[:, None, None]
