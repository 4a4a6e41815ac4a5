"""What ACmix costs, by arithmetic alone."""

from typing import Any, NamedTuple

from acmix_nas import registry
from acmix_nas.arch import FROZEN_IMPL, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.operators import _combine
from acmix_nas.operators._enlarged import small_extent
from acmix_nas.operators.attention import ModeCount
from acmix_nas.parts import Part, area


def count(
    mixer: Mixer,
    *,
    in_channels: int,
    out_channels: int,
    input_map: tuple[int, int],
    stride: int = 1,
    dilation: int = 1,
    fc_bias: bool = False,
    kernel_bias: bool = False,
    **site: Any,
) -> tuple[Part, ...]:
    """The parts of the operator that a mixer describes: qkv, attention, convolution, combine.

    `macs` are the multiply-adds of the named formulation (docs/operator.md) for one image: projections of the arranged
    map, both products of attention, fc, kernels, proj and gate; no norms, softmax or sums of maps.
    `macs_deploy` is the cheapest exact form of the convolution path: plain, fc composed into the kernels, that with
    reduced keys and values on their own map, or fc composed into the projections, which then count it. Frozen kernels
    are shifts there, and free.

    Args:
        mixer: The description.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        input_map: Height and width of the map that is fed, in pixels.
        stride: Distance of the output's pixels.
        dilation: Of the kernels; it changes `macs_deploy` alone, where keys and values are reduced.
        fc_bias: Whether fc has a bias.
        kernel_bias: Whether the convolution path ends in a bias.
        site: The rest of the site (`acmix_nas.operators`); the attention mode counts with what it takes of it.
    """
    mode, taken = ModeCount(0, 0, 0, input_map), site
    if mixer.attends:
        module = registry.load("operators.attention", mixer.attention or "")
        taken = {name: site[name] for name in ("map_size", "shifted", *module.Attention.SITE) if name in site}
        described = {"channels": out_channels, "num_heads": mixer.num_heads or 1, "kernel_size": mixer.attn_kernel}
        mode = module.count(**described, input_map=input_map, stride=stride, dilation=dilation, **taken)
    token = mixer.attends and taken.get("class_token", False)
    place = _Site(in_channels, taken.get("key_channels") or out_channels, out_channels, input_map, stride, token)
    parts = [_projections(place, mode, 1 if mixer.convolves else stride)]
    if mixer.attends:
        numbers = (mode.params, mode.macs, mode.macs, mode.unseen_macs, mode.activations)
        parts.append(Part("attention", None, "attention", *numbers))
    if mixer.convolves:
        path = _path(mixer, place, mode.reduced, dilation, fc_bias)
        unshared = _projections(place, mode, stride).macs if mixer.attends else 0
        shared = parts[0].macs
        forms = [(shared, path.plain), (shared, path.composed), (unshared + path.projected, path.kernels)]
        cheapest = min(forms, key=sum)
        parts[0] = parts[0]._replace(macs_deploy=cheapest[0])
        params = path.params + kernel_bias * out_channels
        parts.append(Part("convolution", None, "convolution", params, path.macs, cheapest[1], 0, path.activations))
    params, macs, activations = _combine.count(mixer.combine or "", in_channels, out_channels)
    return (*parts, Part("combine", None, "other", params, macs, macs, 0, activations))


class _Site(NamedTuple):
    """Channels of the input, of q and k, of v and the result; the map that is fed; the stride; whether a token is."""

    inputs: int
    keys: int
    outputs: int
    input_map: tuple[int, int]
    stride: int
    token: bool

    @property
    def qkv(self) -> int:
        return 2 * self.keys + self.outputs


class _Path(NamedTuple):
    """What the convolution path costs: as named, then what each exact form does.

    Attributes:
        params: Trainable numbers, without a bias of the result.
        macs: fc and kernels, frozen ones too.
        activations: Output elements of both.
        plain: Multiply-adds of fc and trained kernels.
        composed: Those of form 3 (docs/operator.md), fc in the kernels, reduced maps enlarged or as they are.
        projected: Those of form 4 in the projections, fc in them.
        kernels: Those of form 4 after the projections: trained kernels.
    """

    params: int
    macs: int
    activations: int
    plain: int
    composed: int
    projected: int
    kernels: int


def check_head_width(keys: int, channels: int, num_heads: int) -> None:
    """Raises an `ArchError` unless the convolution path can cut q, k and v into maps of one depth.

    Args:
        keys: Channels of q and k.
        channels: Channels of v.
        num_heads: Heads that q and k are cut into.
    """
    if keys % num_heads or channels % (keys // num_heads):
        raise ArchError(
            f"num_heads divides the {keys} channels of q and k, and the head width the {channels} of v; "
            f"it is {num_heads}."
        )


def _projections(site: _Site, mode: ModeCount, stride: int) -> Part:
    """Stage I: q at `stride` of the arranged map, k and v of the reduced one, and all three of the token."""
    pixels = area(mode.reduced or mode.arranged)
    outputs = site.keys * area(mode.arranged, stride) + (site.keys + site.outputs) * pixels + site.token * site.qkv
    macs = site.inputs * outputs
    return Part("qkv", None, "projections", (site.inputs + 1) * site.qkv, macs, macs, 0, outputs)


def _path(mixer: Mixer, site: _Site, reduced: tuple[int, int] | None, dilation: int, fc_bias: bool) -> _Path:
    """In form 4 the part of q is linear in the map, that of k and v in the reduced map, from where it is expanded."""
    assert mixer.num_heads is not None
    assert mixer.conv_kernel is not None
    if site.keys < mixer.num_heads:  # else a network that cannot be built still has a count, for its failed record
        check_head_width(site.keys, site.outputs, mixer.num_heads)
    head_dim, maps = site.keys // mixer.num_heads, mixer.conv_kernel**2
    inputs = site.qkv // head_dim
    per_depth = site.outputs // head_dim if mixer.conv_impl == "full" else 1
    frozen, shifts = mixer.conv_impl in FROZEN_IMPL, mixer.conv_impl == "shift"
    pixels, strided = area(site.input_map), area(site.input_map, site.stride)
    weights, fc = head_dim * per_depth * maps**2, inputs * maps * head_dim * pixels
    named = 0 if shifts else weights * strided
    kernels = 0 if frozen else weights * strided
    taps = (inputs + fc_bias) * maps
    if reduced is not None and (ratio := _ratio(site, reduced)):
        small = small_extent(mixer.conv_kernel, ratio, dilation) ** 2
        taps = min(taps, (mixer.num_heads + fc_bias) * maps + (inputs - mixer.num_heads) * small)
    return _Path(
        params=inputs * maps + fc_bias * maps + (0 if frozen else weights),
        macs=fc + named,
        activations=maps * head_dim * pixels + (0 if shifts else head_dim * per_depth * strided),
        plain=fc + kernels,
        composed=head_dim * per_depth * taps * strided,
        projected=site.inputs * maps * head_dim * (pixels + (area(reduced) if reduced else 0)),
        kernels=kernels,
    )


def _ratio(site: _Site, reduced: tuple[int, int]) -> int:
    """Extent of the square that a reduced pixel stands for; 0 where squares do not fill the map, or with a stride."""
    ratio = site.input_map[0] // reduced[0]
    fills = (ratio * reduced[0], ratio * reduced[1]) == site.input_map
    return ratio if fills and site.stride == 1 else 0
