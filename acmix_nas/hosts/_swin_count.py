"""Sizes and cost of the host `swin`, by arithmetic alone."""

from math import ceil
from typing import Any, Protocol

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.hosts import Count, linear, norm, total

EMBED_DIM = 96
PATCH_SIZE = 4
MLP_RATIO = 4

Size = int | tuple[int, int]


class CountMixer(Protocol):
    """Counts the mixing module of a block."""

    def __call__(self, mixer: Mixer, **site: Any) -> Count:
        """(params, macs, macs_deploy) of `mixer` at `site`."""


def count(
    arch: Arch,
    count_mixer: CountMixer,
    *,
    input_size: Size,
    num_classes: int,
    in_chans: int,
    img_size: Size | None,
    patch_size: Size | None,
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
    dims = dims_of(arch, width)
    patch = _pair(patch_size or PATCH_SIZE)
    built_maps = map_sizes(_pair(img_size or input_size), patch, len(dims))
    input_maps = map_sizes(_pair(input_size), patch, len(dims))
    parts = [linear(in_chans * patch[0] * patch[1], dims[0], input_maps[0][0] * input_maps[0][1]), norm(dims[0])]
    for i, stage in enumerate(arch.stages):
        pixels = input_maps[i][0] * input_maps[i][1]
        if i:
            merged = 4 * dims[i - 1]
            parts += [norm(merged), linear(merged, dims[i], pixels, bias=False)]
        for j, mixer in enumerate(stage):
            site = {"map_size": built_maps[i], "shifted": j % 2 == 1, "conv_on": arch.conv_on}
            widths = {"in_channels": dims[i], "out_channels": dims[i], "fc_bias": True}
            parts += [count_mixer(mixer, input_map=input_maps[i], **widths, **site), *_mlp(dims[i], pixels)]
    return total([*parts, norm(dims[-1]), linear(dims[-1], num_classes, 1)])


def _mlp(dim: int, pixels: int) -> list[Count]:
    """The part of a block that is no mixer: both norms and the MLP."""
    hidden = dim * MLP_RATIO
    return [norm(dim), norm(dim), linear(dim, hidden, pixels), linear(hidden, dim, pixels)]


def dims_of(arch: Arch, width: float) -> list[int]:
    """Channels of each stage."""
    first = round(EMBED_DIM * width)
    if first < 1:
        raise ArchError(f"width times {EMBED_DIM} is at least 1; width is {width}.")
    return [first * 2**i for i in range(len(arch.stages))]


def map_sizes(img_size: tuple[int, int], patch_size: tuple[int, int], stages: int) -> list[tuple[int, int]]:
    """(height, width) of each stage; patches and merging round up."""
    height, width = (ceil(extent / patch) for extent, patch in zip(img_size, patch_size, strict=True))
    return [(ceil(height / 2**i), ceil(width / 2**i)) for i in range(stages)]


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
