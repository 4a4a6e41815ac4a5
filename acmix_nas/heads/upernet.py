"""Head `upernet`: UPerNet (Xiao et al. 2018, arXiv 1807.10221), as Swin was published with it."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from acmix_nas.errors import ArchError
from acmix_nas.heads import DROPOUT, convolution, init_head, narrowed
from acmix_nas.parts import Part, area, linear, norm
from acmix_nas.sizes import Pair

WIDTH, AUXILIARY = 512, 256
"""Channels of the head and of the auxiliary head."""
POOLS = (1, 2, 3, 6)
"""Extents that the coarsest map is pooled to."""
AUXILIARY_LEVEL = 2
"""Level, from 0, whose map the auxiliary head reads."""


class UPerNet(nn.Module):
    """Pyramid pooling on the coarsest map, a top-down pyramid, all levels fused at stride 4.

    In training it also returns the scores of a fully convolutional head on the third map.

    Args:
        channels: Of the maps at strides 4, 8, 16, 32.
        num_classes: Classes.
        width: Factor on its channels.
    """

    def __init__(self, channels: Sequence[int], num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        *finer, last = channels
        own, auxiliary = narrowed(WIDTH, width), narrowed(AUXILIARY, width)
        self.pools = nn.ModuleList(convolution(last, own, 1) for _ in POOLS)
        self.bottleneck = convolution(last + len(POOLS) * own, own, 3)
        self.laterals = nn.ModuleList(convolution(each, own, 1) for each in finer)
        self.outputs = nn.ModuleList(convolution(own, own, 3) for _ in finer)
        self.fusion = convolution(len(channels) * own, own, 3)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.classifier = nn.Conv2d(own, num_classes, 1)
        last_of_auxiliary = nn.Conv2d(auxiliary, num_classes, 1)
        self.auxiliary = nn.Sequential(
            convolution(channels[AUXILIARY_LEVEL], auxiliary, 3), nn.Dropout2d(DROPOUT), last_of_auxiliary
        )
        init_head(self, self.classifier, last_of_auxiliary)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """The maps of a backbone -> scores (B, num_classes, h, w) at stride 4; in training also those at stride 16.

        Raises:
            ArchError: It is to be trained on a single image, whose mean over all pixels has no variance to normalise.
        """
        if self.training and len(maps[0]) < 2:
            raise ArchError("UPerNet is trained on 2 images or more at a time, not on one. Take a larger batch.")
        scores: torch.Tensor = self.classifier(self.dropout(self.fusion(self._levels(maps))))
        return (scores, self.auxiliary(maps[AUXILIARY_LEVEL])) if self.training else scores

    def _levels(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """All levels at the size of the finest, (B, 4 * 512, h, w)."""
        sums = [lateral(x) for lateral, x in zip(self.laterals, maps[:-1], strict=True)]
        sums.append(self._pooled(maps[-1]))
        for fine in range(len(sums) - 2, -1, -1):
            sums[fine] = sums[fine] + resized(sums[fine + 1], sums[fine])
        levels = [*(output(x) for output, x in zip(self.outputs, sums[:-1], strict=True)), sums[-1]]
        return torch.cat([resized(level, levels[0]) for level in levels], 1)

    def _pooled(self, x: torch.Tensor) -> torch.Tensor:
        """The coarsest map with its means over 1, 4, 9 and 36 areas."""
        pooled = [pool(means(x, extent)) for extent, pool in zip(POOLS, self.pools, strict=True)]
        y: torch.Tensor = self.bottleneck(torch.cat([x, *(resized(part, x) for part in pooled)], 1))
        return y


def means(x: torch.Tensor, extent: int) -> torch.Tensor:
    """Means over extent x extent areas of a map (B, C, h, w), as adaptive average pooling has them.

    In an export they are products with matrices that are made of the map's size, which is not known there.
    """
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x, extent)
    down, across = (_areas(side, extent, x) for side in x.shape[-2:])
    return down @ x @ across.transpose(0, 1)


def _areas(side: int, extent: int, like: torch.Tensor) -> torch.Tensor:
    """Weights (extent, side) of the means over areas from floor(i side / extent) to ceil((i + 1) side / extent)."""
    place, area = torch.arange(side, device=like.device), torch.arange(extent, device=like.device)[:, None]
    inside = (place >= area * side // extent) & (place < ((area + 1) * side + extent - 1) // extent)
    weights = inside.to(like.dtype)
    return weights / weights.sum(1, keepdim=True)


def resized(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A map at the extent of another, bilinear."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


build = UPerNet


def count(channels: Sequence[int], maps: Sequence[Pair], num_classes: int) -> Iterator[Part]:
    """The parts of the head, by arithmetic; see `acmix_nas.heads`."""
    *finer, last = channels
    for index, extent in enumerate(POOLS):
        yield from _counted(f"pools.{index}", last, WIDTH, 1, extent**2)
    yield from _counted("bottleneck", last + len(POOLS) * WIDTH, WIDTH, 3, area(maps[-1]))
    for index, (width, size) in enumerate(zip(finer, maps, strict=False)):
        yield from _counted(f"laterals.{index}", width, WIDTH, 1, area(size))
        yield from _counted(f"outputs.{index}", WIDTH, WIDTH, 3, area(size))
    yield from _counted("fusion", len(channels) * WIDTH, WIDTH, 3, area(maps[0]))
    yield linear("classifier", WIDTH, num_classes, area(maps[0]))._replace(stage="head")
    yield from _counted("auxiliary.0", channels[AUXILIARY_LEVEL], AUXILIARY, 3, 0, stage="auxiliary head")
    yield linear("auxiliary.2", AUXILIARY, num_classes, 0)._replace(stage="auxiliary head")


def _counted(name: str, inputs: int, outputs: int, kernel_size: int, pixels: int, **place: Any) -> Iterator[Part]:
    """A convolution with its norm."""
    stage = {"stage": "head", **place}
    yield linear(f"{name}.0", kernel_size**2 * inputs, outputs, pixels, bias=False)._replace(**stage)
    yield norm(f"{name}.1", outputs)._replace(**stage)
