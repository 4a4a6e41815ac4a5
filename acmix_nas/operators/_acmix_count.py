"""What ACmix costs, by arithmetic alone."""

from acmix_nas import registry
from acmix_nas.arch import FROZEN_IMPL, Mixer
from acmix_nas.operators import _combine
from acmix_nas.operators.attention import ModeCount


def count(
    mixer: Mixer,
    *,
    in_channels: int,
    out_channels: int,
    input_map: tuple[int, int],
    stride: int = 1,
    dilation: int = 1,
    fc_bias: bool = False,
    map_size: tuple[int, int] | None = None,
    shifted: bool = False,
    conv_on: str | None = None,
) -> tuple[int, int, int]:
    """(params, macs, macs_deploy) of the operator that a mixer describes.

    `macs` are the multiply-adds of the named formulation (docs/operator.md) for one image: projections of the arranged map, both matrix
    products of attention, fc, kernels, proj and gate; no norms, softmax or elementwise work. `macs_deploy` is the
    cheapest exact form of the convolution path: plain, fc composed into the kernels, or fc composed into projections.

    Args:
        mixer: The description.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        input_map: Height and width of the map that is fed, in pixels.
        stride: Distance of the output's pixels.
        dilation: Without effect on the cost.
        fc_bias: Whether fc has a bias.
        map_size: Height and width of the map that the host was built for.
        shifted: Whether windows are shifted; without effect on the cost.
        conv_on: Without effect on the cost.
    """
    assert mixer.combine is not None
    mode = _attention(mixer, out_channels, input_map, stride, dilation, map_size, shifted)
    rule_params, rule_macs = _combine.count(mixer.combine, in_channels, out_channels)
    weights = in_channels * out_channels
    params = 3 * (weights + out_channels) + mode.params + rule_params
    macs = mode.macs + rule_macs
    apart = weights * (2 * _area(mode.arranged, 1) + _area(mode.arranged, stride))
    if not mixer.convolves:
        return params, macs + apart, macs + apart

    shared = 3 * weights * _area(mode.arranged, 1)
    own, plain, composed, unshared = _convolution(mixer, in_channels, out_channels, input_map, stride, fc_bias)
    cheapest = min(shared + plain, shared + composed, unshared + (apart if mixer.attends else 0))
    return params + own, macs + shared + plain, macs + cheapest


def _attention(
    mixer: Mixer,
    channels: int,
    input_map: tuple[int, int],
    stride: int,
    dilation: int,
    map_size: tuple[int, int] | None,
    shifted: bool,
) -> ModeCount:
    if not mixer.attends:
        return ModeCount(0, 0, input_map)
    assert mixer.attention is not None
    counted: ModeCount = registry.load("operators.attention", mixer.attention).count(
        channels=channels,
        num_heads=mixer.num_heads,
        kernel_size=mixer.attn_kernel,
        input_map=input_map,
        stride=stride,
        dilation=dilation,
        map_size=map_size,
        shifted=shifted,
    )
    return counted


def _convolution(
    mixer: Mixer, in_channels: int, out_channels: int, input_map: tuple[int, int], stride: int, fc_bias: bool
) -> tuple[int, int, int, int]:
    """Parameters of the path, and its multiply-adds plain, in form 3 and in form 4 (docs/operator.md)."""
    assert mixer.num_heads is not None
    assert mixer.conv_kernel is not None
    head_dim, maps = out_channels // mixer.num_heads, mixer.conv_kernel**2
    inputs = 3 * mixer.num_heads
    per_depth = mixer.num_heads if mixer.conv_impl == "full" else 1
    weights = 0 if mixer.conv_impl in FROZEN_IMPL else head_dim * per_depth * maps**2
    full, strided = _area(input_map, 1), _area(input_map, stride)
    kernels = 0 if mixer.conv_impl == "shift" else head_dim * per_depth * maps**2 * strided
    fc = inputs * maps * head_dim * full
    composed = head_dim * (inputs + fc_bias) * per_depth * maps * strided
    unshared = in_channels * maps * head_dim * full + kernels
    return inputs * maps + fc_bias * maps + weights, fc + kernels, composed, unshared


def _area(size: tuple[int, int], stride: int) -> int:
    return -(-size[0] // stride) * -(-size[1] // stride)
