"""Head `semantic_fpn`: Semantic-FPN (Kirillov et al. 2019, arXiv 1901.02446), as PVT was published with it."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from acmix_nas.heads import DROPOUT, convolution, init_head, narrowed
from acmix_nas.parts import Part, area, linear, norm
from acmix_nas.sizes import Pair

NECK, WIDTH = 256, 128
"""Channels of the pyramid and of the head."""


class Pyramid(nn.Module):
    """Feature pyramid network: 1x1 laterals, nearest top-down sums, 3x3 outputs, all with bias and without norm.

    Args:
        channels: Of the maps, the finest first.
        neck: Channels of every map that it gives.
    """

    def __init__(self, channels: Sequence[int], neck: int = NECK) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(each, neck, 1) for each in channels)
        self.outputs = nn.ModuleList(nn.Conv2d(neck, neck, 3, padding=1) for _ in channels)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The maps (B, C_i, h_i, w_i) -> as many of (B, neck, h_i, w_i)."""
        sums = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for fine in range(len(sums) - 2, -1, -1):
            sums[fine] = sums[fine] + F.interpolate(sums[fine + 1], sums[fine].shape[-2:], mode="nearest")
        return [output(x) for output, x in zip(self.outputs, sums, strict=True)]


class SemanticFPN(nn.Module):
    """Brings every level of a pyramid to stride 4 by [3x3, BN, ReLU, x2 bilinear], sums them and classifies pixels.

    Args:
        channels: Of the maps at strides 4, 8, 16, 32.
        num_classes: Classes.
        width: Factor on its channels.
    """

    def __init__(self, channels: Sequence[int], num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        neck, own = narrowed(NECK, width), narrowed(WIDTH, width)
        self.pyramid = Pyramid(channels, neck)
        self.levels = nn.ModuleList(
            nn.ModuleList(convolution(neck if step == 0 else own, own, 3) for step in range(max(1, level)))
            for level in range(len(channels))
        )
        self.dropout = nn.Dropout2d(DROPOUT)
        self.classifier = nn.Conv2d(own, num_classes, 1)
        init_head(self, self.classifier)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """The maps of a backbone -> scores (B, num_classes, h, w) at stride 4."""
        total: torch.Tensor | None = None
        for level, (steps, x) in enumerate(zip(self.levels, self.pyramid(maps), strict=True)):
            for step in steps:  # type: ignore[attr-defined]
                x = step(x)
                if level:
                    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            total = x if total is None else total + x
        scores: torch.Tensor = self.classifier(self.dropout(total))
        return scores


build = SemanticFPN


def count(channels: Sequence[int], maps: Sequence[Pair], num_classes: int) -> Iterator[Part]:
    """The parts of the head, by arithmetic; see `acmix_nas.heads`."""
    for level, (width, size) in enumerate(zip(channels, maps, strict=True)):
        yield linear(f"pyramid.laterals.{level}", width, NECK, area(size))._replace(stage="neck")
        yield linear(f"pyramid.outputs.{level}", 9 * NECK, NECK, area(size))._replace(stage="neck")
    for level, (height, width) in enumerate(maps):
        for step in range(max(1, level)):
            pixels, inputs = height * width * 4**step, NECK if step == 0 else WIDTH
            name = f"levels.{level}.{step}"
            yield linear(f"{name}.0", 9 * inputs, WIDTH, pixels, bias=False)._replace(stage="head")
            yield norm(f"{name}.1", WIDTH)._replace(stage="head")
    yield linear("classifier", WIDTH, num_classes, area(maps[0]))._replace(stage="head")
