"""Sizes and cost of the host `pvt`, by arithmetic alone."""

from typing import Any

from acmix_nas.arch import MAP_WIDE_ATTENTION, Arch, Mixer
from acmix_nas.hosts import Count, CountMixer, Size, linear, map_sizes, norm, scaled, total

WIDTHS = (64, 128, 320, 512)
MLP_RATIOS = (8, 8, 4, 4)
SR_RATIOS = (8, 4, 2, 1)
PATCH_SIZE = 4


def count(
    arch: Arch,
    count_mixer: CountMixer,
    *,
    input_size: Size,
    num_classes: int,
    in_chans: int,
    img_size: Size | None,
    patch_size: int | None,
    width: float,
) -> Count:
    """(params, macs, macs_deploy) of the whole network for one image; builds nothing.

    Args:
        arch: The network.
        count_mixer: Counts a block's mixing module.
        input_size: Height and width of the image that is fed, in pixels.
        num_classes: Classes of the head.
        in_chans: Channels of the image.
        img_size: Height and width that the network is built for; those of `input_size` if None.
        patch_size: Extent of a patch in pixels; the paper's if None.
        width: Multiplier of all widths.
    """
    dims = scaled(WIDTHS, width, len(arch.stages))
    built_maps = map_sizes(img_size or input_size, patch_size or PATCH_SIZE, len(dims))
    input_maps = map_sizes(input_size, patch_size or PATCH_SIZE, len(dims))
    parts = [_token(arch, dims[-1])]
    for i, stage in enumerate(arch.stages):
        pixels = input_maps[i][0] * input_maps[i][1]
        patch, inputs = (2, dims[i - 1]) if i else (patch_size or PATCH_SIZE, in_chans)
        tokens = pixels + (i == len(dims) - 1 and has_token(arch))
        parts += [linear(patch**2 * inputs, dims[i], pixels), norm(dims[i]), _positions(built_maps[i], dims[i])]
        for mixer in stage:
            place = site(arch, i, mixer, dims[i], built_maps[i])
            parts += [count_mixer(mixer, input_map=input_maps[i], **place), *_mlp(dims[i], MLP_RATIOS[i], tokens)]
    return total([*parts, norm(dims[-1]), linear(dims[-1], num_classes, 1)])


def site(arch: Arch, index: int, mixer: Mixer, dim: int, map_size: tuple[int, int]) -> dict[str, Any]:
    """What a mixer is told of its place in a stage."""
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


def _token(arch: Arch, dim: int) -> Count:
    """The class token and its position."""
    return 2 * dim * has_token(arch), 0, 0


def _positions(map_size: tuple[int, int], dim: int) -> Count:
    return map_size[0] * map_size[1] * dim, 0, 0


def _mlp(dim: int, ratio: int, tokens: int) -> list[Count]:
    """The part of a block that is no mixer: both norms and the MLP."""
    return [norm(dim), norm(dim), linear(dim, ratio * dim, tokens), linear(ratio * dim, dim, tokens)]
