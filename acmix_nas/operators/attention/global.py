# ruff: noqa: N999  a mode is named by its file
"""Self-attention over the whole map with reduced keys and values (PVT, Wang et al. 2021, arXiv 2102.12122).

Shapes: B batch, H W map, L queries, M keys, N heads, D head_dim, C = N * D channels.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from acmix_nas.operators._second import fused_attention
from acmix_nas.operators.attention import ModeCount, TokenMode, Weight, scaled_linear
from acmix_nas.operators.attention._windows import is_symbolic
from acmix_nas.operators.forms import Kinds
from acmix_nas.parts import area
from acmix_nas.sizes import Pair

MAP_WIDE = True
"""It sees the whole map: `acmix_nas.arch` reads it here."""
NORM_EPS = 1e-6

FORMULAS = ("C^2 + C + (sr > 1) (sr^2 C^2 + 3 C)", "2 C hw M + C^2 hw + (sr > 1) sr^2 C^2 M")
"""Parameters and multiply-adds in the symbols of `acmix_nas.cost.stages`."""


class Attention(TokenMode):
    """proj(softmax(d^-0.5 * q k) v) over all pixels; k and v are projected from LayerNorm(conv(x)) if sr_ratio > 1.

    The reducing convolution has the extent and stride sr_ratio; maps that it does not divide are padded with zeros at
    the right and the bottom. For the convolution path each reduced pixel stands for its whole patch (nearest).

    Args:
        channels: Channels C of q, k and v, and of the input if sr_ratio > 1.
        num_heads: Heads N.
        kernel_size: Without effect here.
        stride: Distance of the queries in pixels.
        dilation: Without effect here.
        sr_ratio: Spatial reduction of keys and values.
        class_token: Without effect here; `attend` takes sequences with or without one.
    """

    SITE: ClassVar[tuple[str, ...]] = ("sr_ratio", "class_token")
    READ: ClassVar[Mapping[str, Kinds]] = {"proj": (nn.Linear,)}

    def __init__(
        self,
        channels: int,
        num_heads: int,
        kernel_size: int | None = None,
        *,
        stride: int = 1,
        dilation: int = 1,
        sr_ratio: int = 1,
        class_token: bool = False,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.stride = stride
        self.sr_ratio = sr_ratio
        self.scale = (channels // num_heads) ** -0.5
        self.reduction = nn.Conv2d(channels, channels, sr_ratio, sr_ratio) if sr_ratio > 1 else None
        self.norm = nn.LayerNorm(channels, NORM_EPS) if sr_ratio > 1 else None
        self.proj = nn.Linear(channels, channels)

    def reduce(self, x: torch.Tensor) -> torch.Tensor:
        """Shrinks the map (B, H, W, C) by sr_ratio, rounded up."""
        if self.reduction is None or self.norm is None:
            return x
        padded = F.pad(x, (0, 0, 0, -x.shape[2] % self.sr_ratio, 0, -x.shape[1] % self.sr_ratio))
        y: torch.Tensor = self.norm(self.reduction(padded.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return y

    def expand(self, kv: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Repeats every reduced pixel over its patch, cut to the map."""
        (batch, height, width, channels), ratio = kv.shape, self.sr_ratio
        full = kv[:, :, None, :, None].expand(batch, height, ratio, width, ratio, channels).flatten(3, 4).flatten(1, 2)
        return full[:, : x.shape[1], : x.shape[2]]

    def enlargement(self, x: torch.Tensor) -> int:
        """sr_ratio, where it divides the map; a size that is still a symbol is not asked."""
        symbolic = is_symbolic(x.shape[1], x.shape[2])
        if self.reduction is None or symbolic or x.shape[1] % self.sr_ratio or x.shape[2] % self.sr_ratio:
            return 0
        return self.sr_ratio

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attends from sequences (B, L, C) to (B, M, C)."""
        y_BLC: torch.Tensor = self.proj(self._attended(q, k, v))
        return y_BLC

    def weighed(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, alpha: Weight) -> torch.Tensor:
        """Alpha times `forward`: alpha rides on proj."""
        y_BLC = scaled_linear(self._attended(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2)), self.proj, alpha)
        return torch.unflatten(y_BLC, 1, (q.shape[1], q.shape[2]))

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attends; see `AttentionMode.forward`."""
        return self.weighed(q, k, v, 1.0)

    def _attended(self, q_BLC: torch.Tensor, k_BMC: torch.Tensor, v_BMC: torch.Tensor) -> torch.Tensor:
        """What proj reads, (B, L, C)."""
        q_BNLD, k_BNMD, v_BNMD = self._heads(q_BLC), self._heads(k_BMC), self._heads(v_BMC)
        if self.in_plain_form():
            y_BNLD = (self.scale * q_BNLD @ k_BNMD.transpose(-1, -2)).softmax(-1) @ v_BNMD
        else:
            y_BNLD = fused_attention(q_BNLD, k_BNMD, v_BNMD)
        y_BLC: torch.Tensor = y_BNLD.transpose(1, 2).flatten(2)
        return y_BLC

    def _heads(self, x_BLC: torch.Tensor) -> torch.Tensor:
        return torch.unflatten(x_BLC, -1, (self.num_heads, -1)).transpose(1, 2)


def count(
    *,
    channels: int,
    num_heads: int,
    input_map: Pair,
    stride: int = 1,
    sr_ratio: int = 1,
    class_token: bool = False,
    **_: object,
) -> ModeCount:
    """Cost of `Attention`: 2 C for each pair of query and key, proj, and the reduction."""
    reduced = (-(-input_map[0] // sr_ratio), -(-input_map[1] // sr_ratio)) if sr_ratio > 1 else None
    keys, queries = area(reduced or input_map) + class_token, area(input_map, stride) + class_token
    params = channels**2 + channels
    macs = 2 * channels * queries * keys + channels**2 * queries
    activations = (num_heads * keys + 2 * channels) * queries
    if reduced is not None:
        params += (sr_ratio * channels) ** 2 + 3 * channels
        macs += (sr_ratio * channels) ** 2 * area(reduced)
        activations += channels * area(reduced)
    return ModeCount(params, macs, activations, input_map, reduced)
