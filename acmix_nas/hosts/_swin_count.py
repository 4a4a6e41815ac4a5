"""Sizes and cost of the host `swin`, by arithmetic alone."""

from collections.abc import Iterator
from functools import cache
from math import ceil

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.hosts import CountMixer, HostOptions, mlp
from acmix_nas.parts import Counted, Placed, area, below, linear, norm
from acmix_nas.sizes import Size, pair

EMBED_DIM = 96
PATCH_SIZE = 4
MLP_RATIO = 4


def count(arch: Arch, count_mixer: CountMixer, options: HostOptions, input_size: Size) -> Iterator[Placed]:
    """The parts of the network, by arithmetic; see `acmix_nas.hosts`."""
    dims = dims_of(arch, options.width)
    patch = pair(options.patch_size or PATCH_SIZE)
    built_maps = map_sizes(pair(options.img_size or input_size), patch, len(dims))
    input_maps = map_sizes(pair(input_size), patch, len(dims))
    yield Placed("patch_embed", None, _embedding(options.in_chans * patch[0] * patch[1], dims[0], input_maps[0]))
    for i, stage in enumerate(arch.stages):
        if i:
            yield Placed(f"layers.{i}.downsample", i, _merging(dims[i - 1], dims[i], input_maps[i]))
        for j, mixer in enumerate(stage):
            block = _block(count_mixer, mixer, dims[i], input_maps[i], built_maps[i], j % 2 == 1, arch.conv_on)
            yield Placed(f"layers.{i}.blocks.{j}", i, block)
    yield Placed("", None, _head(dims[-1], options.num_classes))


@cache
def _embedding(inputs: int, dim: int, input_map: tuple[int, int]) -> Counted:
    return Counted((linear("proj", inputs, dim, area(input_map)), norm("norm", dim)))


@cache
def _merging(inputs: int, dim: int, input_map: tuple[int, int]) -> Counted:
    return Counted((norm("norm", 4 * inputs), linear("reduction", 4 * inputs, dim, area(input_map), bias=False)))


@cache
def _block(
    count_mixer: CountMixer,
    mixer: Mixer,
    dim: int,
    input_map: tuple[int, int],
    map_size: tuple[int, int],
    shifted: bool,
    conv_on: str | None,
) -> Counted:
    site = {"map_size": map_size, "shifted": shifted, "conv_on": conv_on, "fc_bias": True}
    mixing = count_mixer(mixer, input_map=input_map, in_channels=dim, out_channels=dim, **site)
    return Counted(
        (norm("norm1", dim), *below("attn", mixing), norm("norm2", dim), *mlp(dim, MLP_RATIO, area(input_map)))
    )


@cache
def _head(dim: int, num_classes: int) -> Counted:
    return Counted((norm("norm", dim), linear("head.fc", dim, num_classes)))


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
