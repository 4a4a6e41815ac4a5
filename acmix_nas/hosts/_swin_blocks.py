"""Stages and blocks of the host `swin`. Maps are channels-last tensors (B, H, W, C); a mixer takes (B, C, H, W)."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from timm.models import swin_transformer
from torch import nn
from torch.utils.checkpoint import checkpoint

from acmix_nas.arch import Arch, Mixer
from acmix_nas.hosts._swin_count import MLP_RATIO
from acmix_nas.hosts.layers import is_symbolic


class MakeMixer(Protocol):
    """Builds the mixing module of a block."""

    def __call__(self, mixer: Mixer, **site: Any) -> nn.Module:
        """The module of `mixer` at `site`."""


class Stage(nn.Module):
    """Patch merging, except in the first stage, then blocks of which every second one is shifted."""

    def __init__(
        self,
        arch: Arch,
        index: int,
        make_mixer: MakeMixer,
        *,
        dims: tuple[int, int],
        map_size: tuple[int, int],
        drop_path: Sequence[float],
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.downsample = PatchMerging(*dims) if index else nn.Identity()
        blocks = []
        for i, mixer in enumerate(arch.stages[index]):
            site = {"map_size": map_size, "shifted": i % 2 == 1, "conv_on": arch.conv_on}
            module = make_mixer(mixer, in_channels=dims[1], out_channels=dims[1], fc_bias=True, **site)
            blocks.append(Block(module, dims[1], shifted=i % 2 == 1, drop_path=drop_path[i]))
        self.blocks = nn.Sequential(*blocks)

    def set_input_size(self, map_size: tuple[int, int]) -> None:
        """Fits the mixers to a map (height, width)."""
        for block in self.blocks:
            fit = getattr(block.attn, "set_input_size", None)
            if fit is not None:
                fit(map_size, shifted=block.shifted)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C), or the same shape in the first stage."""
        x = self.downsample(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.grad_checkpointing else block(x)
        return x


class PatchMerging(swin_transformer.PatchMerging):
    """timm's: the four pixels of a square side by side, norm, linear layer; odd maps are filled up with zeros."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C)."""
        if not is_symbolic(x):
            merged: torch.Tensor = super().forward(x)
            return merged
        # The windows of one padding pixel too many are those that are needed: the size has no remainder in it.
        squares_BhwC22 = F.pad(x, (0, 0, 0, 1, 0, 1)).unfold(1, 2, 2).unfold(2, 2, 2)
        y: torch.Tensor = self.reduction(self.norm(squares_BhwC22.permute(0, 1, 2, 5, 4, 3).flatten(3)))
        return y


class Block(nn.Module):
    """x + DropPath(mixer(norm1(x))), then x + DropPath(mlp(norm2(x)))."""

    attn: nn.Module

    def __init__(self, mixer: nn.Module, dim: int, *, shifted: bool, drop_path: float) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(dim)
        self.attn = mixer
        self.drop_path1 = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, dim * MLP_RATIO)
        self.drop_path2 = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        mixed = self.attn(self.norm1(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.drop_path1(mixed)
        y: torch.Tensor = x + self.drop_path2(self.mlp(self.norm2(x)))
        return y
