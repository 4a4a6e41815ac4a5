"""Sizes and cost of the host `san`, by arithmetic alone."""

from collections.abc import Iterator
from functools import cache
from math import ceil

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.hosts import CountMixer, HostOptions, map_sizes, scaled
from acmix_nas.parts import Counted, Placed, area, below, linear, norm
from acmix_nas.sizes import Size, pair

WIDTHS = (64, 256, 512, 1024, 2048)
PATCH_SIZE = 2
KEYS_UNIT = 4
"""Channels of q and k are a multiple of the paper's four heads, whatever the width."""


def count(arch: Arch, count_mixer: CountMixer, options: HostOptions, input_size: Size) -> Iterator[Placed]:
    """The parts of the network, by arithmetic; see `acmix_nas.hosts`."""
    dims = scaled(WIDTHS, options.width, len(arch.stages))
    maps = map_sizes(input_size, checked_patch(options.patch_size or PATCH_SIZE), len(dims))
    yield Placed("stem", None, _stem(options.in_chans, dims[0], area(pair(input_size))))
    for i, stage in enumerate(arch.stages):
        yield Placed(f"stages.{i}", i, _stage(dims[max(i - 1, 0)], dims[i], area(maps[i])))
        for j, mixer in enumerate(stage):
            yield Placed(f"stages.{i}.blocks.{j}", i, _block(count_mixer, mixer, dims[i], maps[i]))
    yield Placed("head", None, _head(dims[-1], options.num_classes))


@cache
def _stem(in_chans: int, dim: int, pixels: int) -> Counted:
    return Counted((linear("0", in_chans, dim, pixels, bias=False), norm("1", dim)))


@cache
def _stage(inputs: int, dim: int, pixels: int) -> Counted:
    return Counted((linear("conv", inputs, dim, pixels, bias=False), norm("norm", dim)))


@cache
def _block(count_mixer: CountMixer, mixer: Mixer, dim: int, input_map: tuple[int, int]) -> Counted:
    middle = mid_channels(dim)
    mixing = below("mixer", count_mixer(mixer, input_map=input_map, **site(dim)))
    last = linear("conv", middle, dim, area(input_map), op="mlp")
    return Counted((norm("norm1", dim), *mixing, norm("norm2", middle), last))


@cache
def _head(dim: int, num_classes: int) -> Counted:
    return Counted((linear("fc", dim, num_classes),))


def site(dim: int) -> dict[str, int]:
    """Widths of the mixer in a stage of `dim` channels: q and k a sixteenth, v a quarter, rounded up to fit heads."""
    return {"in_channels": dim, "out_channels": mid_channels(dim), "key_channels": mid_channels(dim) // 4}


def mid_channels(dim: int) -> int:
    """Channels of v."""
    return 4 * KEYS_UNIT * ceil(dim / (16 * KEYS_UNIT))


def checked_patch(patch_size: int) -> int:
    """The downsampling before the first blocks.

    Raises:
        ArchError: It is neither 1, without the first max-pool, nor 2.
    """
    if patch_size not in (1, 2):
        raise ArchError(f"patch_size, SAN's downsampling before the first blocks, is 1 or 2; it is {patch_size}.")
    return patch_size
