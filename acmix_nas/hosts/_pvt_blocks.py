"""Stages and blocks of the host `pvt`, on sequences (B, L, C): the pixels, after the class token where there is one."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from timm.models._features_fx import register_notrace_function
from torch import nn
from torch.utils.checkpoint import checkpoint

from acmix_nas.hosts.layers import TransformerBlock, is_symbolic, patches

NORM_EPS = 1e-6


class Stage(nn.Module):
    """Patch embedding, learned positions, blocks.

    Args:
        inputs: Channels of the map it takes.
        dim: Channels of the stage.
        patch_size: Extent of a patch in pixels of that map.
        map_size: (height, width) of its own map, the one that positions are learned for; others are interpolated.
        token: Whether a class token comes with the map.
        blocks: The blocks.
    """

    def __init__(
        self,
        inputs: int,
        dim: int,
        patch_size: int,
        map_size: tuple[int, int],
        *,
        token: bool,
        blocks: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.map_size = map_size
        self.patch_embed = patches(
            inputs,
            dim,
            img_size=(map_size[0] * patch_size, map_size[1] * patch_size),
            patch_size=patch_size,
            norm_layer=partial(nn.LayerNorm, eps=NORM_EPS),
        )
        self.pos_embed = nn.Parameter(torch.empty(1, token + map_size[0] * map_size[1], dim))
        self.blocks = nn.ModuleList(blocks)

    def init_weights(self) -> None:
        """Draws the positions."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: torch.Tensor, token: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Runs the stage.

        Args:
            x: Map (B, C_in, H, W).
            token: Class token (1, 1, C).

        Returns:
            Map (B, C, ceil(H/p), ceil(W/p)), and the token (B, 1, C).
        """
        x_BhwC = self.patch_embed(x)
        size = (x_BhwC.shape[1], x_BhwC.shape[2])
        x_BLC = x_BhwC.flatten(1, 2)
        if token is not None:
            x_BLC = torch.cat((token.expand(x.shape[0], -1, -1), x_BLC), 1)
        x_BLC = x_BLC + positions(self.pos_embed, self.map_size, size, x_BhwC)
        for block in self.blocks:
            again = partial(checkpoint, block, use_reentrant=False) if self.grad_checkpointing else block
            x_BLC = again(x_BLC, size)
        token = None if token is None else x_BLC[:, :1]
        return to_map(x_BLC, size), token  # the map is computed last: torch.fx takes it for the output of the stage


@register_notrace_function  # type: ignore[untyped-decorator]
def positions(
    pos_embed: torch.Tensor, map_size: tuple[int, int], size: tuple[int, int], x_BhwC: torch.Tensor
) -> torch.Tensor:
    """Learned positions for a map of another size than the one they were learned for."""
    if not is_symbolic(x_BhwC) and tuple(size) == map_size:
        return pos_embed
    pixels = map_size[0] * map_size[1]
    first, rest = pos_embed[:, :-pixels], pos_embed[:, -pixels:]
    resized = F.interpolate(to_map(rest, map_size), size, mode="bilinear", align_corners=False)
    return torch.cat((first, resized.flatten(2).transpose(1, 2)), 1)


class Block(TransformerBlock):
    """A block of tokens (B, L, C), of which the last height * width are the map of this size.

    Args:
        mixer: Mixes the map.
        dim: Channels.
        mlp_ratio: Hidden channels of the MLP, in `dim`.
        reads_token: Whether there is a class token that the mixer reads; one that it does not gets nothing from it.
        drop_path: Stochastic depth.
    """

    def __init__(self, mixer: nn.Module, dim: int, mlp_ratio: int, *, reads_token: bool, drop_path: float) -> None:
        super().__init__(mixer, dim, mlp_ratio, norm_eps=NORM_EPS, drop_path=drop_path)
        self.reads_token = reads_token

    def mix(self, x: torch.Tensor, *sizes: tuple[int, int]) -> torch.Tensor:
        """(B, L, C) -> (B, L, C)."""
        (size,) = sizes
        pixels, token = to_map(x, size), _apart(x[:, : -size[0] * size[1]])
        if self.reads_token:
            mixed, token = self.attn(pixels, token)
        else:
            mixed, token = self.attn(pixels), torch.zeros_like(token)
        return torch.cat((token, mixed.flatten(2).transpose(1, 2)), 1)


def to_map(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The last height * width tokens of (B, L, C) as a map (B, C, H, W), channels-last in memory."""
    return torch.unflatten(_apart(x[:, -size[0] * size[1] :]), 1, size).permute(0, 3, 1, 2)


def _apart(x: torch.Tensor) -> torch.Tensor:
    """Some of the tokens, in memory of their own; while sizes are symbols it is not asked whether they are already."""
    return x.clone(memory_format=torch.contiguous_format) if is_symbolic(x) else x.contiguous()
