"""How a network that scores every pixel is applied to an image: whole or in windows, mirrored, at several scales."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from acmix_nas.errors import UsageError

SMALLEST, LARGEST = 0.1, 10
"""Factors that images are scored at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """How images are scored.

    Attributes:
        window: Height and width in pixels of windows that slide over the image; None for the whole image at once.
        stride: Pixels from one window to the next; two thirds of a window if None.
        scales: Factors on the image; the mean of probabilities is taken over all.
        flip: Whether the mirrored image is scored too.

    Raises:
        UsageError: A value is none that images can be scored with.
    """

    window: int | None = None
    stride: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise UsageError(f"a window has 1 pixel or more, not {self.window}.")
        if self.stride is not None and (self.window is None or not 1 <= self.stride <= self.window):
            raise UsageError(f"windows of {self.window} pixels are 1 to as many pixels apart, not {self.stride}.")
        if not self.scales or not all(SMALLEST <= scale <= LARGEST for scale in self.scales):
            raise UsageError(f"scales are factors from {SMALLEST} to {LARGEST}, as 0.5,1,1.5; not {self.scales}.")

    @property
    def is_plain(self) -> bool:
        """Whether images are scored once, as they are."""
        return self == Inference()

    def __str__(self) -> str:
        whole = "whole images" if self.window is None else f"windows of {self.window} px, {self._stride} px apart"
        scales = [f"scales {', '.join(f'{scale:g}' for scale in self.scales)}"] if self.scales != (1.0,) else []
        return ", ".join([whole, *scales, *(["and mirrored"] if self.flip else [])])

    @property
    def _stride(self) -> int:
        assert self.window is not None
        return self.stride or max(1, 2 * self.window // 3)

    def scores(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Scores, or mean probabilities where images are scored more than once.

        Args:
            model: (B, C, H, W) -> scores (B, K, H, W).
            images: (B, C, H, W).

        Returns:
            (B, K, H, W).
        """
        if self.is_plain:
            whole: torch.Tensor = model(images)
            return whole
        size = (images.shape[-2], images.shape[-1])
        total: Any = 0
        for scale in self.scales:
            extent = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
            scaled = images if extent == size else F.interpolate(images, extent, mode="bilinear", align_corners=False)
            for mirrored in (False, True)[: 1 + self.flip]:
                scores = self._windows(model, scaled.flip(-1) if mirrored else scaled)
                scores = scores.flip(-1) if mirrored else scores
                if extent != size:
                    scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)
                total = total + scores.softmax(1)
        found: torch.Tensor = total / (len(self.scales) * (1 + self.flip))
        return found

    def _windows(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """The mean of the scores of the windows that a pixel is in."""
        if self.window is None:
            whole: torch.Tensor = model(images)
            return whole
        height, width = images.shape[-2:]
        total: torch.Tensor | None = None
        count = torch.zeros(1, 1, height, width, device=images.device)
        for top in _starts(height, self.window, self._stride):
            for left in _starts(width, self.window, self._stride):
                place = (..., slice(top, top + self.window), slice(left, left + self.window))
                scores = model(images[place])
                if total is None:
                    total = scores.new_zeros(len(images), scores.shape[1], height, width)
                total[place] += scores
                count[place] += 1
        assert total is not None, "an image has a pixel"
        return total / count


class Applied(nn.Module):
    """A network that scores images as `Inference` says.

    Args:
        model: (B, C, H, W) -> scores (B, K, H, W).
        how: How images are scored.
    """

    def __init__(self, model: nn.Module, how: Inference) -> None:
        super().__init__()
        self.model, self.how = model, how

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, K, H, W)."""
        return self.how.scores(self.model, images)


def _starts(extent: int, window: int, stride: int) -> list[int]:
    """Where windows begin; the last ends at the border."""
    last = max(0, extent - window)
    return [*range(0, last, stride), last]
