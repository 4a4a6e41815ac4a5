"""Pairwise self-attention (SAN, Zhao et al. 2020, arXiv 2004.13621): a vector of weights for each pair of pixels.

Shapes: B batch, H W map, h w its map at stride, R channels of q and k, C of v, G = C / 8, K = kernel_size ** 2.
"""

import torch
from torch import nn

from acmix_nas.operators.attention import ModeCount, _gathered, _pairwise
from acmix_nas.operators.attention._pairwise import moments, reduced_moments
from acmix_nas.operators.attention._windows import locations, padded, wide, windows
from acmix_nas.operators.attention.san import SHARE, Norm, SanMode, normalised, weighed
from acmix_nas.parts import area
from acmix_nas.sizes import Pair

FORMULAS = ("(R + 2) (R + 2) + (G + 2) R + G + 4", "((R + 2) R + R G + C) k_a^2 hw + 4 HW")
"""Parameters and multiply-adds in the symbols of `acmix_nas.cost.stages`."""

HEADLESS = True
"""Heads have no effect: `acmix_nas.arch` reads it here."""
FEW = 8
"""G below which weights are made for each channel apart, not for G: faster than broadcasting so few numbers."""


class Attention(SanMode):
    """Sum of v over the window, weighed by softmax of gamma([q_i - k_j, p_i - p_j]), reflected at the borders.

    p = W loc, where loc holds the column, then the row, each from -1 to 1; keys and positions are padded together, and
    a bias of W would cancel. gamma is BN, ReLU, 1x1 to R, BN, ReLU, 1x1 to G; softmax goes over the window. Channel c
    takes weight channel c mod G. Heads have no effect.
    """

    def _add_layers(self, keys: int) -> None:
        """The relation is q - k and the difference of their positions."""
        self.position = nn.Linear(2, 2, bias=False)
        self._add_branch(keys + 2, keys, self.groups)

    def _attend_by_rows(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        p_BHW2 = self._positions(k)
        centre = wide(torch.cat((q, p_BHW2[:, :: self.window.stride, :: self.window.stride]), -1))
        others = padded(-wide(torch.cat((k, p_BHW2), -1)), self.window)
        measured = moments(centre, others, self.window) if self.norm1.measures else None
        scale, shift = self.norm1.scale_and_shift(measured)
        centre, others = scale * centre + shift, scale * others
        times = SHARE if self.groups < FEW else 1
        last = (self.expansion.weight.repeat(times, 1), self.expansion.bias.repeat(times))
        inputs = (padded(v, self.window), *self._reduction(centre, others), *last)
        weighing = _gathered.softmax_weighing if _gathered.is_traced() else _pairwise.weighing
        y: torch.Tensor = weighing(self.window, centre, others, *(x.to(p_BHW2.dtype) for x in inputs))
        return y

    def _reduction(self, centre: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the first layer with the norm behind it."""
        weight, bias = wide(self.reduction.weight), self.reduction.bias
        if not isinstance(self.norm2, Norm):
            return weight, bias
        measured = reduced_moments(centre, others, weight, self.window) if self.norm2.measures else None
        scale, shift = self.norm2.scale_and_shift(measured)
        return scale.unsqueeze(-1) * weight, shift

    def _attend_plainly(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        p_BHW2 = self._positions(k)
        centre_BhwX1 = torch.cat((q, p_BHW2[:, :: self.window.stride, :: self.window.stride]), -1).unsqueeze(-1)
        relation_BhwXK = centre_BhwX1 - windows(torch.cat((k, p_BHW2), -1), self.window)
        hidden_BhwKR = self.reduction(normalised(self.norm1, relation_BhwXK.transpose(-1, -2)).relu())
        weights_BhwKG = self.expansion(normalised(self.norm2, hidden_BhwKR).relu()).softmax(-2)
        return weighed(windows(v, self.window), weights_BhwKG.transpose(-1, -2))

    def _positions(self, k: torch.Tensor) -> torch.Tensor:
        p_HW2: torch.Tensor = self.position(locations(k.shape[1], k.shape[2], k))
        return p_HW2.expand(*k.shape[:3], 2)


def count(
    *, channels: int, kernel_size: int, input_map: Pair, stride: int = 1, key_channels: int | None = None, **_: object
) -> ModeCount:
    """Cost of `Attention`: gamma for each pair, the weighed sum for each query, 4 for each pixel's position."""
    places, groups, keys = kernel_size**2, channels // SHARE, key_channels or channels
    gamma = (keys + 2) * keys + keys * groups
    queries, pixels = area(input_map, stride), area(input_map)
    norms_bias_and_position = 2 * (keys + 2) + 2 * keys + groups + 4
    macs = (gamma + channels) * places * queries + 4 * pixels
    activations = ((keys + groups) * places + channels) * queries + 2 * pixels
    return ModeCount(gamma + norms_bias_and_position, macs, activations, input_map)
