"""What the two modes of SAN (Zhao et al. 2020, arXiv 2004.13621) share.

Shapes: B batch, H W map, h w its map at stride, C channels of v, G = C / 8 weight channels, K = kernel_size ** 2.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import nn

from acmix_nas.errors import ArchError
from acmix_nas.operators.attention import AttentionMode
from acmix_nas.operators.attention._windows import Moments, Window, wide
from acmix_nas.operators.forms import Kinds

SHARE = 8
"""Channels of v that share a weight."""


class Norm(nn.BatchNorm1d):
    """Batch normalisation over the last axis of a tensor of any shape."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises."""
        return super().forward(x.flatten(0, -2)).reshape(x.shape)

    @classmethod
    def like(cls, norm: nn.SyncBatchNorm) -> Self:
        """The norm of one process that `torch.nn.SyncBatchNorm.convert_sync_batchnorm` replaced."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name, value in (*norm._parameters.items(), *norm._buffers.items()):
            setattr(made, name, value)
        return made.train(norm.training)

    @property
    def measures(self) -> bool:
        """Whether it normalises by the statistics of its input, as in training."""
        return self.training or self.running_mean is None

    def scale_and_shift(self, moments: Moments | None) -> tuple[torch.Tensor, torch.Tensor]:
        """scale, shift of scale * x + shift, which is `forward` of an x that is never held.

        Args:
            moments: Of that x; None unless the norm `measures`. As `forward`, a training norm keeps their average.
        """
        if moments is not None:
            self._keep(moments)
            mean, variance = moments.mean, moments.variance
        else:
            assert self.running_mean is not None
            assert self.running_var is not None
            mean, variance = wide(self.running_mean), wide(self.running_var)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return scale, self.bias - mean * scale

    def _keep(self, moments: Moments) -> None:
        if not self.training or self.running_mean is None:
            return
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        unbiased = moments.variance.detach() * (moments.number / (moments.number - 1))
        for running, new in ((self.running_mean, moments.mean.detach()), (self.running_var, unbiased)):
            step = new - running
            running.add_(step / self.num_batches_tracked if self.momentum is None else self.momentum * step)


class SanMode(AttentionMode):
    """Base of both: weights from a relation of q and k, by norm, ReLU, `reduction`, norm, ReLU and `expansion`.

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
    READ: ClassVar[Mapping[str, Kinds]] = {
        "norm1": (Norm,),
        "reduction": (nn.Linear,),
        "norm2": (Norm, nn.Identity),  # merged, the second norm is in the layer before it
        "expansion": (nn.Linear,),
    }

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
        _check(self.__module__.rpartition(".")[2], channels, kernel_size)
        self.groups = channels // SHARE
        self.window = Window(kernel_size, stride, dilation)
        self._add_layers(key_channels or channels)

    @abstractmethod
    def _add_layers(self, keys: int) -> None:
        """Makes the layers for `keys` channels of q and k, by `_add_branch` among others."""

    def _add_branch(self, relation: int, hidden: int, weights: int) -> None:
        """Makes the layers of the weights from widths of the relation, between the layers, and of the result."""
        self.norm1 = Norm(relation)
        self.reduction = nn.Linear(relation, hidden, bias=False)
        self.norm2 = Norm(hidden)
        self.expansion = nn.Linear(hidden, weights)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attends; see `AttentionMode.forward`."""
        literal = self.in_plain_form() or math.prod(q.shape[:3]) < 2
        return self._attend_plainly(q, k, v) if literal else self._attend_by_rows(q, k, v)

    @abstractmethod
    def _attend_by_rows(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor: ...

    @abstractmethod
    def _attend_plainly(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor: ...


def _check(mode: str, channels: int, kernel_size: int) -> None:
    if kernel_size % 2 == 0:
        raise ArchError(f"attn_kernel of {mode} attention is odd; it is {kernel_size}.")
    if channels % SHARE:
        below = channels // SHARE * SHARE
        near = " or ".join(str(fit) for fit in (below, below + SHARE) if fit)
        raise ArchError(
            f"{mode} attention shares each weight among {SHARE} channels; {SHARE} does not divide the {channels} "
            f"channels. Take {near}."
        )


def normalised(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A norm of the last axis of x, which has any shape.

    What torch's and others' tools put in the place of a `Norm`, such as `SyncBatchNorm`, normalises the second axis.
    """
    if isinstance(norm, Norm) or not hasattr(norm, "running_mean"):
        y: torch.Tensor = norm(x)
        return y
    x_NC = x.flatten(0, -2)
    y = norm(x_NC if isinstance(norm, nn.BatchNorm1d) else x_NC[:, :, None, None])
    return y.reshape(x.shape)


def weighed(v_BhwCK: torch.Tensor, weights_BhwGK: torch.Tensor) -> torch.Tensor:
    """The sum over each window, channel c weighed by weight channel c mod G: (B, h, w, C)."""
    v_BhwGSK = torch.unflatten(v_BhwCK, 3, (SHARE, -1)).transpose(3, 4)
    y_BhwGS = (v_BhwGSK @ weights_BhwGK.unsqueeze(-1)).squeeze(-1)
    return y_BhwGS.transpose(3, 4).flatten(3)
