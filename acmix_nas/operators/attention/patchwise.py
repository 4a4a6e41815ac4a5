"""Patchwise self-attention (SAN, Zhao et al. 2020, arXiv 2004.13621): weights that the whole window decides.

Shapes: B batch, H W map, h w its map at stride, R channels of q and k, C of v, G = C / 8, K = kernel_size ** 2.
"""

import torch
import torch.nn.functional as F

from acmix_nas.operators.attention import ModeCount, _gathered, _patchwise
from acmix_nas.operators.attention._patchwise import moments
from acmix_nas.operators.attention._windows import Moments, padded, wide, windows
from acmix_nas.operators.attention.san import SHARE, SanMode, normalised, weighed
from acmix_nas.parts import area
from acmix_nas.sizes import Pair

FORMULAS = ("(k_a^2 + 1) R (G + 2) + (k_a^2 G + k_a^2 + 2) G", "((k_a^2 + 1) R G + k_a^2 G^2 + k_a^2 C) hw")
"""Parameters and multiply-adds in the symbols of `acmix_nas.cost.stages`."""

HEADLESS = True
"""Heads have no effect: `acmix_nas.arch` reads it here."""
FEW = 16
"""G below which weights are made for each channel apart, not for G: faster than broadcasting so few numbers."""


class Attention(SanMode):
    """Sum of v over the window, weighed by phi([q_i, k_j for all j of the window]), reflected at the borders.

    phi is BN, ReLU, 1x1 to G, BN, ReLU, 1x1 to K * G: a weight for each place and each group of eight channels;
    channel c takes weight channel c mod G. There is no softmax and no position, and heads have no effect.
    """

    def _add_layers(self, keys: int) -> None:
        """The relation is q and all k of the window."""
        places = self.window.kernel_size**2
        self._add_branch(keys * (places + 1), self.groups, places * self.groups)

    def _attend_by_rows(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        window, keys = self.window, padded(k, self.window)
        scale, shift = self.norm1.scale_and_shift(self._moments(q, keys) if self.norm1.measures else None)
        parts = (self._parted(x, k.shape[-1]) for x in (scale, shift, self.reduction.weight.T))
        (scale_R, scale_kkR), (shift_R, shift_kkR), (weight_RG, weight_kkRG) = parts
        own_BhwR = (scale_R * q + shift_R).relu().to(q.dtype)
        hidden = F.linear(own_BhwR, weight_RG.T, self.reduction.bias)
        keys, weight_kkRG = keys.to(hidden.dtype), weight_kkRG.to(hidden.dtype)
        traced = _gathered.is_traced()
        reduction = _gathered.reduction if traced else _patchwise.reduction
        hidden = hidden + reduction(window, keys, scale_kkR, shift_kkR, weight_kkRG)
        hidden = F.pad(self.norm2(hidden).relu(), (0, 1), value=1.0)
        values, weight_kkGX = padded(v, window).to(hidden.dtype), self._expansion().to(hidden.dtype)
        weighing = _gathered.phi_weighing if traced else _patchwise.weighing
        y: torch.Tensor = weighing(window, hidden, values, weight_kkGX)
        return y

    def _moments(self, q: torch.Tensor, keys: torch.Tensor) -> Moments:
        """Of the relation, channel by channel as `norm1` has them."""
        variance_R, mean_R = torch.var_mean(wide(q), (0, 1, 2), correction=0)
        of_keys = moments(keys, self.window)
        mean, variance = (x.movedim(2, 0).flatten() for x in of_keys[:2])
        return Moments(torch.cat((mean_R, mean)), torch.cat((variance_R, variance)), of_keys.number)

    def _parted(self, x: torch.Tensor, keys: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What belongs to q, (R, ...), and to each place of k, (k, k, R, ...), of something for the relation."""
        extent = self.window.kernel_size
        return x[:keys], torch.unflatten(x[keys:], 0, (keys, extent, extent)).movedim(0, 2).contiguous()

    def _expansion(self) -> torch.Tensor:
        """The last layer for each place, (k, k, G + 1, X), with the bias as weight of a constant 1."""
        extent = self.window.kernel_size
        weight = torch.cat((self.expansion.weight, self.expansion.bias.unsqueeze(-1)), -1)
        weight_kkGX = torch.unflatten(weight, 0, (self.groups, extent, extent)).permute(1, 2, 3, 0)
        return weight_kkGX.repeat(1, 1, 1, SHARE) if self.groups < FEW else weight_kkGX.contiguous()

    def _attend_plainly(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        k_BhwRK = windows(k, self.window)
        relation_BhwX = torch.cat((q, k_BhwRK.flatten(-2)), -1)
        hidden_BhwG = self.reduction(normalised(self.norm1, relation_BhwX).relu())
        weights_BhwX = self.expansion(normalised(self.norm2, hidden_BhwG).relu())
        return weighed(windows(v, self.window), torch.unflatten(weights_BhwX, -1, (self.groups, -1)))


def count(
    *, channels: int, kernel_size: int, input_map: Pair, stride: int = 1, key_channels: int | None = None, **_: object
) -> ModeCount:
    """Cost of `Attention`: both layers of phi and the weighed sum for each query."""
    places, groups = kernel_size**2, channels // SHARE
    relation = (key_channels or channels) * (places + 1)
    phi = relation * groups + groups * places * groups
    queries = area(input_map, stride)
    norms_and_bias = 2 * relation + 2 * groups + places * groups
    macs = (phi + channels * places) * queries
    return ModeCount(phi + norms_and_bias, macs, (groups + groups * places + channels) * queries, input_map)
