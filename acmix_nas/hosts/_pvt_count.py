"""Sizes and cost of the host `pvt`, by arithmetic alone."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from acmix_nas.arch import MAP_WIDE_ATTENTION, Arch, Mixer
from acmix_nas.hosts import CountMixer, HostOptions, map_sizes, mlp, scaled
from acmix_nas.parts import Counted, Part, Placed, area, below, linear, norm
from acmix_nas.sizes import Size

WIDTHS = (64, 128, 320, 512)
MLP_RATIOS = (8, 8, 4, 4)
SR_RATIOS = (8, 4, 2, 1)
PATCH_SIZE = 4


def count(arch: Arch, count_mixer: CountMixer, options: HostOptions, input_size: Size) -> Iterator[Placed]:
    """The parts of the network, by arithmetic; see `acmix_nas.hosts`."""
    dims = scaled(WIDTHS, options.width, len(arch.stages))
    patch = options.patch_size or PATCH_SIZE
    built_maps = map_sizes(options.img_size or input_size, patch, len(dims))
    input_maps = map_sizes(input_size, patch, len(dims))
    if has_token(arch):
        yield Placed("", None, _token(dims[-1]))
    for i, stage in enumerate(arch.stages):
        window = 4 * dims[i - 1] if i else patch**2 * options.in_chans
        token = i == len(dims) - 1 and has_token(arch)
        yield Placed(f"stages.{i}", i, _embedding(window, dims[i], input_maps[i], built_maps[i], token))
        for j, mixer in enumerate(stage):
            place = site(arch, i, mixer, dims[i], built_maps[i])
            block = _block(count_mixer, mixer, MLP_RATIOS[i], input_maps[i], token, **place)
            yield Placed(f"stages.{i}.blocks.{j}", i, block)
    yield Placed("", None, _head(dims[-1], options.num_classes))


@cache
def _token(dim: int) -> Counted:
    return Counted((Part("cls_token", None, "other", dim),))


@cache
def _embedding(window: int, dim: int, input_map: tuple[int, int], map_size: tuple[int, int], token: bool) -> Counted:
    patches = linear("patch_embed.proj", window, dim, area(input_map))
    positions = Part("pos_embed", None, "other", dim * (area(map_size) + token))
    return Counted((patches, norm("patch_embed.norm", dim), positions))


@cache
def _block(
    count_mixer: CountMixer, mixer: Mixer, ratio: int, input_map: tuple[int, int], token: bool, **place: Any
) -> Counted:
    dim = place["out_channels"]
    mixing = below("attn", count_mixer(mixer, input_map=input_map, **place))
    return Counted((norm("norm1", dim), *mixing, norm("norm2", dim), *mlp(dim, ratio, area(input_map) + token)))


@cache
def _head(dim: int, num_classes: int) -> Counted:
    return Counted((norm("norm", dim), linear("head", dim, num_classes)))


def site(arch: Arch, index: int, mixer: Mixer, dim: int, map_size: tuple[int, int]) -> dict[str, Any]:
    """What a mixer knows of its place in a stage."""
    return {
        "in_channels": dim,
        "out_channels": dim,
        "map_size": map_size,
        "sr_ratio": SR_RATIOS[index],
        "class_token": index == len(arch.stages) - 1 and reads_token(mixer),
        "kernel_bias": True,
    }


def has_token(arch: Arch) -> bool:
    """Whether there is a class token: only where a block of the last stage lets it see the map."""
    return any(reads_token(mixer) for mixer in arch.stages[-1])


def reads_token(mixer: Mixer) -> bool:
    """Whether a class token attends in this mixer."""
    return mixer.attention in MAP_WIDE_ATTENTION
