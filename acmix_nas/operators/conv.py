"""Operator `conv`: the dense 3x3 convolution that ACmix replaces in a ResNet bottleneck."""

from torch import nn

from acmix_nas.arch import Mixer
from acmix_nas.parts import Part, area, linear
from acmix_nas.sizes import Pair

KERNEL_SIZE = 3


def build(
    mixer: Mixer, *, in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1, **site: object
) -> nn.Conv2d:
    """A dense 3x3 convolution without bias, (B, C_in, H, W) -> (B, C_out, ceil(H/s), ceil(W/s)).

    Args:
        mixer: The description; it has no further fields.
        in_channels: Channels C_in.
        out_channels: Channels C_out.
        stride: Of the convolution.
        dilation: Of the convolution.
        site: The rest of the site, which does not concern it.
    """
    return nn.Conv2d(in_channels, out_channels, KERNEL_SIZE, stride, dilation, dilation, bias=False)


def count(
    mixer: Mixer, *, in_channels: int, out_channels: int, input_map: Pair, stride: int = 1, **site: object
) -> tuple[Part, ...]:
    """The one part of `build` on a map of `input_map` pixels."""
    window = KERNEL_SIZE**2 * in_channels
    return (linear("", window, out_channels, area(input_map, stride), bias=False, op="convolution"),)
