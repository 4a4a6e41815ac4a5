"""What ACmix costs, by arithmetic alone."""

from collections.abc import Mapping
from typing import Any, NamedTuple

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
    key_channels: int | None = None,
    sr_ratio: int = 1,
    class_token: bool = False,
    kernel_bias: bool = False,
) -> tuple[int, int, int]:
    """(params, macs, macs_deploy) of the operator that a mixer describes.

    `macs` are the multiply-adds of the named formulation (docs/operator.md) for one image: projections of the arranged
    map, both matrix products of attention, fc, kernels, proj and gate; no norms, softmax or elementwise work.
    `macs_deploy` is the cheapest exact form of the convolution path: plain, fc composed into the kernels, or fc
    composed into the projections.

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
        key_channels: Channels of q and k, for modes that let them differ from `out_channels`.
        sr_ratio: Spatial reduction of k and v, for modes that have one.
        class_token: Whether a token is fed beside the map, for modes that take one.
        kernel_bias: Whether the convolution path ends in a bias.
    """
    assert mixer.combine is not None
    more = {"key_channels": key_channels, "sr_ratio": sr_ratio, "class_token": class_token}
    offered = _offered(mixer)
    place = {"stride": stride, "dilation": dilation, "map_size": map_size, "shifted": shifted}
    mode = _attention(mixer, out_channels, input_map, place | {name: more[name] for name in offered if name in more})
    keys = key_channels if key_channels and (not mixer.attends or "key_channels" in offered) else out_channels
    widths = _Widths(in_channels, keys, out_channels)
    rule_params, rule_macs = _combine.count(mixer.combine, in_channels, out_channels)
    params = (in_channels + 1) * widths.qkv + mode.params + rule_params
    macs = mode.macs + rule_macs
    if class_token and "class_token" in offered:
        macs += in_channels * widths.qkv
    queries, others = _area(mode.arranged, 1), _area(mode.reduced or mode.arranged, 1)
    apart = in_channels * (keys * _area(mode.arranged, stride) + (keys + out_channels) * others)
    if not mixer.convolves:
        return params, macs + apart, macs + apart

    shared = in_channels * (keys * queries + (keys + out_channels) * others)
    own, plain, composed, unshared = _convolution(mixer, widths, input_map, stride, fc_bias, mode.reduced)
    cheapest = min(shared + plain, shared + composed, unshared + (apart if mixer.attends else 0))
    return params + own + kernel_bias * out_channels, macs + shared + plain, macs + cheapest


class _Widths(NamedTuple):
    inputs: int
    keys: int
    outputs: int

    @property
    def qkv(self) -> int:
        return 2 * self.keys + self.outputs


def _offered(mixer: Mixer) -> tuple[str, ...]:
    """What the attention mode takes of the site."""
    if not mixer.attends or mixer.attention is None:
        return ()
    names: tuple[str, ...] = registry.load("operators.attention", mixer.attention).Attention.SITE
    return names


def _attention(mixer: Mixer, channels: int, input_map: tuple[int, int], place: Mapping[str, Any]) -> ModeCount:
    if not mixer.attends:
        return ModeCount(0, 0, input_map)
    assert mixer.attention is not None
    counted: ModeCount = registry.load("operators.attention", mixer.attention).count(
        channels=channels, num_heads=mixer.num_heads or 1, kernel_size=mixer.attn_kernel, input_map=input_map, **place
    )
    return counted


def _convolution(
    mixer: Mixer,
    widths: _Widths,
    input_map: tuple[int, int],
    stride: int,
    fc_bias: bool,
    reduced: tuple[int, int] | None,
) -> tuple[int, int, int, int]:
    """Parameters of the path, and its multiply-adds plain, in form 3 and in form 4 (docs/operator.md).

    In form 4 the part of q is linear in the map, that of k and v in the reduced map, from where it is expanded.
    """
    assert mixer.num_heads is not None
    assert mixer.conv_kernel is not None
    head_dim, maps = widths.keys // mixer.num_heads, mixer.conv_kernel**2
    inputs = widths.qkv // head_dim
    per_depth = widths.outputs // head_dim if mixer.conv_impl == "full" else 1
    weights = 0 if mixer.conv_impl in FROZEN_IMPL else head_dim * per_depth * maps**2
    full, strided = _area(input_map, 1), _area(input_map, stride)
    kernels = 0 if mixer.conv_impl == "shift" else head_dim * per_depth * maps**2 * strided
    fc = inputs * maps * head_dim * full
    composed = head_dim * (inputs + fc_bias) * per_depth * maps * strided
    projected = full if reduced is None else full + _area(reduced, 1)
    unshared = widths.inputs * maps * head_dim * projected + kernels
    return inputs * maps + fc_bias * maps + weights, fc + kernels, composed, unshared


def _area(size: tuple[int, int], stride: int) -> int:
    return -(-size[0] // stride) * -(-size[1] // stride)
