"""ACmix's convolution path.

Shapes: B batch, H W map, h w its map at stride, N heads, D head_dim, C channels, P = kernel_size ** 2 maps of fc, M the
maps it reads at each depth, X either of them, O kernels, k k their extent.
"""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from acmix_nas.operators import _enlarged, _shift
from acmix_nas.operators.attention import Weight
from acmix_nas.operators.forms import Kinds, TwoForms


class Reduced(NamedTuple):
    """Projections of which keys and values are those of a smaller map, not yet enlarged.

    Attributes:
        q: Queries (B, H, W, N * D).
        kv: Keys and values side by side, (B, H / r, W / r, Y).
        ratio: Extent r of the square that each of their pixels stands for.
    """

    q: torch.Tensor
    kv: torch.Tensor
    ratio: int


Maps = torch.Tensor | Reduced
"""What the path reads: q, k, v side by side, (B, H, W, 3C) if all are C wide, or keys and values reduced."""


class ConvolutionPath(TwoForms):
    """The 3N projected maps of each depth, mixed into k^2 maps by one light layer, shifted and summed.

    Input map number part * N + head, parts in the order q, k, v; output channel depth * N + head, not head * D + depth
    as in attention: the learned weights absorb it and checkpoints rely on it (docs/operator.md). Where q and k are
    narrower than v, D is that of the keys, v gives C / D maps at each depth, and that many outputs are computed there.

    fc followed by kernels is linear at each depth, so it equals one group convolution with the kernels
    sum_p kernels[o, p] * fc[p, m], exactly, at the borders too. The fast form is this one, or else fc then kernels,
    the one that takes fewer multiply-adds (`composes`); `shift` and `groupconv` are one-hot kernels in it. Reduced keys
    and values are convolved as they are (`_enlarged`).

    Args:
        channels: Channels C of v and of the result.
        num_heads: Heads N that q and k are cut into.
        kernel_size: Odd extent k of the kernels.
        stride: Of the result.
        dilation: Distance of the shifts.
        impl: Implementation of shift-and-sum.
        init: "shift" or "kaiming" kernels at the start.
        fc_bias: Whether the light layer has a bias.
        key_channels: Channels of q and k; C if None.
        kernel_bias: Whether the result has a bias.
    """

    READ: ClassVar[Mapping[str, Kinds]] = {"fc": (nn.Linear,), "kernels": (_shift.TensorShift, _shift.ShiftKernels)}

    def __init__(
        self,
        channels: int,
        num_heads: int,
        kernel_size: int,
        *,
        stride: int,
        dilation: int,
        impl: str,
        init: str,
        fc_bias: bool,
        key_channels: int | None = None,
        kernel_bias: bool = False,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = (key_channels or channels) // num_heads
        outputs = channels // self.head_dim
        self.fc = nn.Linear(2 * num_heads + outputs, kernel_size**2, bias=fc_bias)
        self.kernels = _shift.build(
            impl, self.head_dim, outputs, kernel_size, stride=stride, dilation=dilation, init=init
        )
        self.bias = nn.Parameter(torch.empty(channels)) if kernel_bias else None
        self.repeats = 1 if impl == "full" else outputs
        self.geometry = {"stride": stride, "padding": dilation * (kernel_size // 2), "dilation": dilation}
        self.composes = composes(2 * num_heads + outputs, outputs // self.repeats, kernel_size**2, stride)
        self.composes_queries = stride == 1 and composes(num_heads, outputs // self.repeats, kernel_size**2, stride)
        self.init_weights()

    def init_weights(self) -> None:
        """Sets `fc` and the kernels; a host calls it after its own initialisation, which must not reach them."""
        self.fc.reset_parameters()
        if self.fc.bias is not None:
            nn.init.zeros_(self.fc.bias)
        if isinstance(self.kernels, _shift.ShiftKernels):
            self.kernels.init_weights()
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def takes_reduced(self) -> bool:
        """Whether keys and values may be `Reduced`."""
        return self.composes_queries and not self.in_plain_form()

    def forward(self, maps: Maps) -> torch.Tensor:
        """Convolves.

        Args:
            maps: The projections.

        Returns:
            (B, h, w, C).
        """
        if not self.in_plain_form():
            return self.weighed(maps, 1.0)
        assert isinstance(maps, torch.Tensor)
        mixed_BHWX = self.fc(self._maps(maps)).flatten(-2)
        y_BChw: torch.Tensor = self.kernels(mixed_BHWX.permute(0, 3, 1, 2))
        y_BhwC = y_BChw.permute(0, 2, 3, 1)
        return y_BhwC if self.bias is None else y_BhwC + self.bias

    def weighed(self, maps: Maps, beta: Weight) -> torch.Tensor:
        """Beta times `forward`, in the form that `composes` names; beta rides on the kernels."""
        like = maps.q if isinstance(maps, Reduced) else maps
        kernels_OPkk: torch.Tensor = self.kernels.taps(like) * self._on_kernels(beta)
        if isinstance(maps, Reduced):
            y_BhwO = self._convolved_apart(maps, *self.apart(self.composed(kernels_OPkk), maps.ratio))
        elif self.composes:
            y_BhwO = self._convolved(self._maps(maps), self.composed(kernels_OPkk))
        else:
            y_BhwO = self._convolved(self.fc(self._maps(maps)), kernels_OPkk)
        if self.fc.bias is not None and (self.composes or isinstance(maps, Reduced)):
            y_BhwO = y_BhwO + self._constant(kernels_OPkk, like)
        y_BhwC = self._repeated(y_BhwO, beta)
        return y_BhwC if self.bias is None else y_BhwC + beta * self.bias

    def composed(self, kernels_OPkk: torch.Tensor) -> torch.Tensor:
        """Kernels of all maps that fc reads, (O, M, k, k)."""
        return torch.einsum("opij,pm->omij", kernels_OPkk, self.fc.weight)

    def apart(self, weight_OMkk: torch.Tensor, ratio: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Kernels of the queries, and of keys and values on their own map."""
        weight_OMkk = self._for_depths(weight_OMkk)
        q_ONkk, kv_OYkk = weight_OMkk[:, : self.num_heads], weight_OMkk[:, self.num_heads :]
        return q_ONkk, _enlarged.summed(kv_OYkk, ratio, self.geometry["dilation"])

    def _convolved_apart(
        self, maps: Reduced, q_ONkk: torch.Tensor, kv_OYuv: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        y_BhwO = self._convolved(self._maps(maps.q), q_ONkk, bias)
        return y_BhwO + _enlarged.convolved(self._maps(maps.kv).flatten(-2), kv_OYuv, maps.ratio, self.head_dim)

    def _maps(self, qkv: torch.Tensor) -> torch.Tensor:
        """(B, H, W, D, M) of M maps of D channels side by side."""
        return torch.unflatten(qkv, -1, (-1, self.head_dim)).transpose(-1, -2)

    def _convolved(
        self, maps_BHWDX: torch.Tensor, weight_OXkk: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Group convolution of maps that lie channels-last, (B, h, w, O)."""
        x_BYHW = maps_BHWDX.flatten(-2).permute(0, 3, 1, 2)
        y_BOhw = F.conv2d(x_BYHW, self._for_depths(weight_OXkk), bias, **self.geometry, groups=self.head_dim)
        return y_BOhw.permute(0, 2, 3, 1)

    def _constant(self, kernels_OPkk: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """What the bias of `fc` becomes, (1, h, w, O): not constant at the borders, where zeros come in after it."""
        weight_O1kk = torch.einsum("opij,p->oij", kernels_OPkk, self.fc.bias).unsqueeze(1)
        return self._bordered(self._for_depths(weight_O1kk), like)

    def _bordered(self, weight_O1kk: torch.Tensor, like_BHWX: torch.Tensor) -> torch.Tensor:
        """A map of ones, convolved: (1, h, w, O)."""
        ones_11HW = like_BHWX.new_ones(1, 1, like_BHWX.shape[1], like_BHWX.shape[2])
        return F.conv2d(ones_11HW, weight_O1kk, None, **self.geometry).permute(0, 2, 3, 1)

    def _for_depths(self, weight_OXkk: torch.Tensor) -> torch.Tensor:
        """One kernel for all depths, which `shift` has, becomes one for each."""
        if weight_OXkk.shape[0] >= self.head_dim:
            return weight_OXkk
        return weight_OXkk.expand(self.head_dim, -1, -1, -1)

    def _on_kernels(self, beta: Weight) -> Weight:
        """Beta as a factor of the kernels; 1 where kernels serve several channels that each have their own."""
        if not isinstance(beta, torch.Tensor) or len(beta) == 1:
            return beta
        return 1.0 if self.repeats > 1 else beta[:, None, None, None]

    def _repeated(self, y_BhwO: torch.Tensor, beta: Weight) -> torch.Tensor:
        if self.repeats == 1:
            return y_BhwO
        y_BhwC = y_BhwO.unsqueeze(-1).expand(*y_BhwO.shape, self.repeats).flatten(-2)
        return beta * y_BhwC if isinstance(beta, torch.Tensor) and len(beta) > 1 else y_BhwC


def composes(inputs: int, outputs: int, maps: int, stride: int) -> bool:
    """Whether composing fc into the kernels takes no more multiply-adds: the rule of the fast form.

    Args:
        inputs: Maps 3N that fc reads at each depth.
        outputs: Results at each depth: N for `full`, else 1.
        maps: Maps k^2 that fc makes.
        stride: Of the kernels.
    """
    composed = inputs * outputs * maps
    return composed <= inputs * maps * stride**2 + outputs * maps**2
