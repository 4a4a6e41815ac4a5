"""What the two modes of SAN (Zhao et al. 2020, arXiv 2004.13621) share.

Shapes: B batch, H W map, h w its map at stride, C channels of v, G = C / 8 weight channels, K = kernel_size ** 2.
"""

import torch
from torch import nn

from acmix_nas.errors import ArchError
from acmix_nas.operators.attention.local import _reflected

SHARE = 8
"""Channels of v that share a weight."""


def weight_channels(mode: str, channels: int, kernel_size: int) -> int:
    """Number of weight channels G.

    Raises:
        ArchError: Eight does not divide the channels, or the window is even.
    """
    if kernel_size % 2 == 0:
        raise ArchError(f"attn_kernel of {mode} attention is odd; it is {kernel_size}.")
    if channels % SHARE:
        below = channels // SHARE * SHARE
        near = " or ".join(str(fit) for fit in (below, below + SHARE) if fit)
        raise ArchError(
            f"{mode} attention shares each weight among {SHARE} channels; {SHARE} does not divide the {channels} "
            f"channels. Take {near}."
        )
    return channels // SHARE


def windows(x_BHWC: torch.Tensor, kernel_size: int, stride: int, dilation: int) -> torch.Tensor:
    """The window of each query, reflected at the borders: (B, h, w, C, K)."""
    span = dilation * (kernel_size - 1) + 1
    for dim in (1, 2):
        x_BHWC = x_BHWC.index_select(dim, _reflected(x_BHWC.shape[dim], span // 2, x_BHWC.device))
    opened = x_BHWC.unfold(1, span, stride).unfold(2, span, stride)
    return opened[..., ::dilation, ::dilation].flatten(-2)


def weighed(v_BhwCK: torch.Tensor, weights_BhwGK: torch.Tensor) -> torch.Tensor:
    """The sum over each window, channel c weighed by weight channel c mod G: (B, h, w, C)."""
    v_BhwGSK = torch.unflatten(v_BhwCK, 3, (SHARE, -1)).transpose(3, 4)
    y_BhwGS = (v_BhwGSK @ weights_BhwGK.unsqueeze(-1)).squeeze(-1)
    return y_BhwGS.transpose(3, 4).flatten(3)


class Norm(nn.BatchNorm1d):
    """Batch normalisation over the last axis of a tensor of any shape."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises."""
        return super().forward(x.flatten(0, -2)).reshape(x.shape)
