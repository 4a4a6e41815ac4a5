"""Attention modes of ACmix: each public file here is a mode named by its file, and so is a module of a user's own.

A mode's file offers

    Attention(channels, num_heads, kernel_size, *, stride=1, dilation=1)   an `AttentionMode`
    count(*, channels, num_heads, kernel_size, input_map, stride=1, dilation=1, map_size=None, shifted=False)
        -> ModeCount; it may collect the arguments that it does not use as **_
    FORMULAS, its parameters and multiply-adds in the symbols of `acmix_nas.cost.stages`; may be left out

`Attention.SITE` names what else of the site (`acmix_nas.operators`) both take as keyword arguments: "key_channels" if
q and k may be narrower than v, "sr_ratio" if k and v may come from a reduced map, "class_token" if a token may attend
beside the map, as in a `TokenMode`. Left out, each has the value of a bare ACmix.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from acmix_nas.operators.forms import TwoForms

Weight = torch.Tensor | float
"""alpha or beta: a number, one learned weight (1,), or one for each channel (C,)."""


class ModeCount(NamedTuple):
    """What an attention mode costs without the shared projections, for one image.

    Attributes:
        params: Trainable numbers.
        macs: Multiply-adds of its two products and of its own projections.
        activations: Output elements of the linear layers, convolutions and matrix products that its plain form calls.
        arranged: (height, width) of the map that `arrange` returns, which is what q, k and v are projected from.
        reduced: (height, width) of the map that `reduce` makes for k and v; None if there is no reduction.
        unseen_macs: Those of `macs` that its plain form computes by elementwise products and sums.
    """

    params: int
    macs: int
    activations: int
    arranged: tuple[int, int]
    reduced: tuple[int, int] | None = None
    unseen_macs: int = 0


class AttentionMode(TwoForms, ABC):
    """Base of the attention modes: q, k, v -> heads concatenated, channel = head * head_dim + depth.

    A subclass needs only `forward`. Maps are channels-last tensors (B, H, W, C). One with a fast form computes the
    formulation literally while `plain` is set.

    Attributes:
        SITE: Further arguments of the site that the mode takes.
    """

    SITE: ClassVar[tuple[str, ...]] = ()

    def place(self, map_size: tuple[int, int] | None, *, shifted: bool = False) -> None:
        """Fits the mode to the map a host was built for.

        Args:
            map_size: Height and width of the map in pixels; None if unknown.
            shifted: Whether windows are shifted here.
        """

    def arrange(self, x: torch.Tensor) -> torch.Tensor:
        """The map (B, H, W, C) as the mode wants it projected: rolled, or padded at the right and the bottom."""
        return x

    def restore(self, x: torch.Tensor) -> torch.Tensor:
        """Undoes the rolling of `arrange` on a map (B, H, W, C) that is already cropped to its size before padding."""
        return x

    def reduce(self, x: torch.Tensor) -> torch.Tensor:
        """The map that k and v are projected from, given the arranged one: itself, or a smaller one."""
        return x

    def expand(self, kv: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Keys and values of a reduced map at every pixel of the arranged map `x`, for the convolution path."""
        return kv

    def enlargement(self, x: torch.Tensor) -> int:
        """Extent of the square over which `expand` repeats each reduced pixel of the map `x`, uncut; 0 if it does not.

        A mode that returns it lets the convolution path take the reduced keys and values as they are.
        """
        return 0

    def freeze(self) -> None:
        """Computes beforehand what depends on weights and sizes alone; they do not change after it."""

    def weighed(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, alpha: Weight) -> torch.Tensor:
        """Alpha times `forward`; modes that end in a linear layer scale its weights instead of the map."""
        y: torch.Tensor = alpha * self(q, k, v)
        return y

    @abstractmethod
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attends.

        Args:
            q: Queries at every stride-th pixel, (B, ceil(H/s), ceil(W/s), C), of the arranged map.
            k: Keys (B, H, W, C).
            v: Values (B, H, W, C).

        Returns:
            (B, ceil(H/s), ceil(W/s), C), still arranged.
        """


class TokenMode(AttentionMode):
    """A mode in which a class token may attend with the pixels."""

    @abstractmethod
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention over sequences (B, L, C): the token and the pixels."""


class MapMode(AttentionMode):
    """A mode that may also project its queries, keys and values itself, where that is faster."""

    @abstractmethod
    def weighed_map(self, x: torch.Tensor, qkv: nn.Linear, alpha: Weight) -> torch.Tensor:
        """`weighed` of what `qkv` makes of the arranged map `x`, at stride 1."""


def scaled_linear(x: torch.Tensor, layer: nn.Linear, scale: Weight) -> torch.Tensor:
    """Scale * layer(x), computed with scaled weights: they are smaller than maps, and so is the gradient of `scale`."""
    if isinstance(scale, float) and scale == 1:
        y: torch.Tensor = layer(x)
        return y
    factor = scale.unsqueeze(-1) if isinstance(scale, torch.Tensor) else scale
    return F.linear(x, factor * layer.weight, scale * layer.bias)
