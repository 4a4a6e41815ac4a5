"""Layers that hosts share: their start values, convolutions that autocast leaves in float32, and patch embeddings."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import patch_embed
from timm.models._features_fx import register_notrace_module
from torch import nn


def init_convnet(module: nn.Module, name: str = "", *, needs_reset: bool) -> None:
    """Draws as timm's ResNet; see `init_rest` for all layers but convolutions."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    else:
        init_rest(module, needs_reset=needs_reset)


def init_transformer(module: nn.Module, name: str = "", *, needs_reset: bool) -> None:
    """Draws as timm's Swin and as PVT; see `init_rest` for all layers but linear ones."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    else:
        init_rest(module, needs_reset=needs_reset)


def init_rest(module: nn.Module, *, needs_reset: bool) -> None:
    """Calls the module's own `init_weights`, or `reset_parameters` if `needs_reset`.

    Hosts initialise children first, so that a mixer's own `init_weights` has the last word on its layers.
    """
    if (init := getattr(module, "init_weights", None)) is not None:
        init()
    elif needs_reset and (reset := getattr(module, "reset_parameters", None)) is not None:
        reset()


@register_notrace_module  # what it does depends on where it is called
class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves in float32.

    It is for what all layers behind it read: a rounding there turns every gradient before it.

    Args:
        args: As of `nn.Conv2d`.
        keeps: Whether its result stays in float32 too, and so do norms behind it; else it has autocast's type.
        options: As of `nn.Conv2d`.
    """

    def __init__(self, *args: Any, keeps: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.keeps = keeps

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C_in, H, W) -> (B, C, h, w)."""
        if not autocasts(input):
            return super().forward(input)
        with without_autocast(input):
            y = super().forward(input.to(self.weight.dtype))
        return y if self.keeps else y.to(torch.get_autocast_dtype(input.device.type))


def without_autocast(x: torch.Tensor) -> AbstractContextManager[Any]:
    """A context in which operations compute in the types of their inputs on the device of x."""
    return torch.autocast(x.device.type, enabled=False) if autocasts(x) else nullcontext()


def autocasts(x: torch.Tensor) -> bool:
    """Whether autocast is on where x lies."""
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


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
        norm_layer: Makes the norm of so many channels.
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
