"""What hosts share: methods, start values, convolutions that autocast leaves in float32, and patch embeddings."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from timm.layers import patch_embed
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from timm.models._features import feature_take_indices
from timm.models._features_fx import register_notrace_module
from torch import nn

from acmix_nas.arch import Arch

UNDECAYED = ("alpha", "beta", "alpha_logit", "relative_position_bias_table")
"""Last names of the parameters of mixers that never get weight decay, whatever the host."""


class Host(nn.Module):
    """What every host has beside the methods of timm's models."""

    arch: Arch
    undecayed: ClassVar[tuple[str, ...]] = UNDECAYED

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay: the weights of the paths, position biases and the like."""
        return {name for name, _ in self.named_parameters() if name.rpartition(".")[2] in self.undecayed}


class StagedHost(Host, ABC):
    """A host of our own: stages behind one another, with the methods of timm's models that walk through them."""

    stages: Any
    feature_info: list[dict[str, Any]]
    num_features: int

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """What the first stage reads, of images (B, in_chans, H, W)."""
        return x

    def run_stage(self, index: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The map (B, C, h, w) after a stage, and the token (B, 1, C) of a host that has one."""
        return self.stages[index](x), None

    def finish(self, x: torch.Tensor, token: torch.Tensor | None) -> torch.Tensor:
        """What `forward_features` returns, of what the last stage does."""
        return x

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """The last map under the last norm, where that is not a part of the stage."""
        return x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether blocks are computed again in the backward pass instead of kept."""
        for stage in self.stages:
            stage.grad_checkpointing = enable

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """The maps after some stages, as timm.

        Args:
            x: Images (B, in_chans, H, W).
            indices: Stages; the last n if a number, all if None.
            norm: Whether the last stage's map is normalised; in SAN every stage ends in its norm.
            stop_early: Whether later stages are left out; the first result is then the map after the last stage run.
            output_fmt: "NCHW".
            intermediates_only: Whether the last result is left out.

        Returns:
            What `forward_features` returns, and the maps (B, C, h, w) of the stages.
        """
        assert output_fmt == "NCHW", "Output shape must be NCHW."
        wanted, last = feature_take_indices(len(self.stages), indices)
        x, token, intermediates = self.enter(x), None, []
        count = last + 1 if stop_early else len(self.stages)
        for index in range(count):
            x, token = self.run_stage(index, x)
            if index in wanted:
                is_last = index == len(self.feature_info) - 1
                intermediates.append(self.normalised(x) if norm and is_last else x)
        if intermediates_only:
            return intermediates
        return self.finish(x, token) if count == len(self.feature_info) else x, intermediates

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops what `forward_intermediates` of these stages does not need, as timm."""
        wanted, last = feature_take_indices(len(self.stages), indices)
        self.stages = self.stages[: last + 1]
        if prune_head or last + 1 < len(self.feature_info):
            self.num_features = self.feature_info[last]["num_chs"]
            self.reset_classifier(0, "")
        return wanted

    @abstractmethod
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new head for a number of classes; 0 for none."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """What the head reads, of images (B, in_chans, H, W)."""
        x, token = self.enter(x), None
        for index in range(len(self.stages)):
            x, token = self.run_stage(index, x)
        return self.finish(x, token)


def init_convnet(module: nn.Module, name: str = "", *, needs_reset: bool) -> None:
    """Draws as timm's ResNet; see `_init` for all layers but convolutions."""
    _init(module, nn.Conv2d, partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"), needs_reset)


def init_transformer(module: nn.Module, name: str = "", *, needs_reset: bool) -> None:
    """Draws as timm's Swin and as PVT; see `_init` for all layers but linear ones."""
    _init(module, nn.Linear, partial(nn.init.trunc_normal_, std=0.02), needs_reset)


def _init(
    module: nn.Module, kind: type[nn.Conv2d | nn.Linear], draw: Callable[[torch.Tensor], object], needs_reset: bool
) -> None:
    """Draws a layer of the kind; calls another's own `init_weights`, or `reset_parameters` if `needs_reset`.

    Hosts initialise children first, so that a mixer's own `init_weights` has the last word on its layers.
    """
    if isinstance(module, kind):
        draw(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif (init := getattr(module, "init_weights", None)) is not None:
        init()
    elif needs_reset and (reset := getattr(module, "reset_parameters", None)) is not None:
        reset()


class TransformerBlock(nn.Module, ABC):
    """x + DropPath(mixer(norm1(x))), then x + DropPath(mlp(norm2(x))).

    Args:
        mixer: Mixes the map.
        dim: Channels.
        mlp_ratio: Hidden channels of the MLP, in `dim`.
        norm_eps: Of the norms.
        drop_path: Stochastic depth.
    """

    attn: nn.Module

    def __init__(self, mixer: nn.Module, dim: int, mlp_ratio: int, *, norm_eps: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, norm_eps)
        self.attn = mixer
        self.drop_path1 = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, norm_eps)
        self.mlp = Mlp(dim, dim * mlp_ratio)
        self.drop_path2 = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: torch.Tensor, *size: tuple[int, int]) -> torch.Tensor:
        """Tokens or a map, channels last; of tokens with the size of their map."""
        x = x + self.drop_path1(self.mix(self.norm1(x), *size))
        y: torch.Tensor = x + self.drop_path2(self.mlp(self.norm2(x)))
        return y

    @abstractmethod
    def mix(self, x: torch.Tensor, *size: tuple[int, int]) -> torch.Tensor:
        """What the mixer makes of it, in the same shape."""


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
