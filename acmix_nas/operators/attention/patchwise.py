"""Patchwise self-attention (SAN, Zhao et al. 2020, arXiv 2004.13621): weights that the whole window decides.

Shapes: B batch, H W map, h w its map at stride, R channels of q and k, C of v, G = C / 8, K = kernel_size ** 2.
"""

from typing import ClassVar

import torch
from torch import nn

from acmix_nas.operators.attention import AttentionMode, ModeCount
from acmix_nas.operators.attention._san import SHARE, Norm, weighed, weight_channels, windows
from acmix_nas.parts import area

FORMULAS = ("(k_a^2 + 1) R (G + 2) + (k_a^2 G + k_a^2 + 2) G", "((k_a^2 + 1) R G + k_a^2 G^2 + k_a^2 C) hw")
"""Parameters and multiply-adds in the symbols of `acmix_nas.cost.stages`."""


class Attention(AttentionMode):
    """Sum of v over the window, weighed by phi([q_i, k_j for all j of the window]), reflected at the borders.

    phi is BN, ReLU, 1x1 to G, BN, ReLU, 1x1 to K * G: a weight for each place and each group of eight channels;
    channel c takes weight channel c mod G. There is no softmax and no position, and heads have no effect.

    Args:
        channels: Channels C of v, a multiple of 8.
        num_heads: Without effect here.
        kernel_size: Odd extent of the window in pixels.
        stride: Distance of the queries in pixels.
        dilation: Distance of the window's pixels.
        key_channels: Channels R of q and k; C if None.

    Raises:
        ArchError: Eight does not divide the channels, or the window is even.
    """

    SITE: ClassVar[tuple[str, ...]] = ("key_channels",)

    def __init__(
        self,
        channels: int,
        num_heads: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        key_channels: int | None = None,
    ) -> None:
        super().__init__()
        groups = weight_channels("patchwise", channels, kernel_size)
        relation = (key_channels or channels) * (kernel_size**2 + 1)
        self.window = (kernel_size, stride, dilation)
        self.groups = groups
        self.norm1 = Norm(relation)
        self.reduction = nn.Linear(relation, groups, bias=False)
        self.norm2 = Norm(groups)
        self.expansion = nn.Linear(groups, kernel_size**2 * groups)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attends; see `AttentionMode.forward`."""
        k_BhwRK = windows(k, *self.window)
        relation_BhwX = torch.cat((q, k_BhwRK.flatten(-2)), -1)
        hidden_BhwG = self.reduction(self.norm1(relation_BhwX).relu())
        weights_BhwX = self.expansion(self.norm2(hidden_BhwG).relu())
        return weighed(windows(v, *self.window), torch.unflatten(weights_BhwX, -1, (self.groups, -1)))


def count(
    *,
    channels: int,
    num_heads: int,
    kernel_size: int,
    input_map: tuple[int, int],
    stride: int = 1,
    dilation: int = 1,
    map_size: tuple[int, int] | None = None,
    shifted: bool = False,
    key_channels: int | None = None,
) -> ModeCount:
    """Cost of `Attention`: both layers of phi and the weighed sum for each query."""
    places, groups = kernel_size**2, channels // SHARE
    relation = (key_channels or channels) * (places + 1)
    phi = relation * groups + groups * places * groups
    queries = area(input_map, stride)
    norms_and_bias = 2 * relation + 2 * groups + places * groups
    macs = (phi + channels * places) * queries
    return ModeCount(phi + norms_and_bias, macs, (groups + groups * places + channels) * queries, input_map)
