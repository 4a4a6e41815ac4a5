"""Patches of an image or a map as pixels of a channels-last map, for hosts with tokens."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import patch_embed
from torch import nn


class PatchEmbed(patch_embed.PatchEmbed):
    """timm's patches; what they do not divide is filled up with zeros at the right and the bottom.

    It is padded by one pixel less than a patch, of which the strided convolution reads what it needs. So no remainder
    is computed, and sizes may be symbols, as in an export for images of any size.
    """

    patch_size: tuple[int, int]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C_in, H, W) -> (B, ceil(H/p), ceil(W/p), C)."""
        rows, columns = self.patch_size
        x_BChw: torch.Tensor = self.proj(F.pad(x, (0, columns - 1, 0, rows - 1)))
        y: torch.Tensor = self.norm(x_BChw.permute(0, 2, 3, 1))
        return y


def patches(
    inputs: int, dim: int, *, img_size: Any, patch_size: Any, norm_layer: Callable[[int], nn.Module]
) -> PatchEmbed:
    """The patch embedding of a host.

    Args:
        inputs: Channels of the image or map.
        dim: Channels of the patches.
        img_size: (height, width) in pixels that the host is built for.
        patch_size: Extent of a patch in pixels, or (height, width).
        norm_layer: Builds the norm of a number of channels.
    """
    return PatchEmbed(
        img_size=img_size,
        patch_size=patch_size,
        in_chans=inputs,
        embed_dim=dim,
        norm_layer=norm_layer,
        strict_img_size=False,
        dynamic_img_pad=True,
        output_fmt="NHWC",
    )


def is_symbolic(x: torch.Tensor) -> bool:
    """Whether an extent of x is still a symbol, as in an export for images of any size; not of what torch.fx traces."""
    return not isinstance(x, torch.fx.Proxy) and any(isinstance(extent, torch.SymInt) for extent in x.shape)
