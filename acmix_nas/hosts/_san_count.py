"""Sizes and cost of the host `san`, by arithmetic alone."""

from math import ceil

from acmix_nas.arch import Arch
from acmix_nas.errors import ArchError
from acmix_nas.hosts import Count, CountMixer, Size, linear, map_sizes, norm, pair, scaled, total

WIDTHS = (64, 256, 512, 1024, 2048)
PATCH_SIZE = 2
KEYS_UNIT = 4
"""Channels of q and k are a multiple of the paper's four heads, whatever the width."""


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
        img_size: Without effect: the network is built for any image.
        patch_size: Downsampling before the first blocks; the paper's if None.
        width: Multiplier of all widths.
    """
    dims = scaled(WIDTHS, width, len(arch.stages))
    maps = map_sizes(input_size, checked_patch(patch_size or PATCH_SIZE), len(dims))
    height, columns = pair(input_size)
    parts = [linear(in_chans, dims[0], height * columns, bias=False), norm(dims[0])]
    for i, stage in enumerate(arch.stages):
        pixels = maps[i][0] * maps[i][1]
        parts += [linear(dims[max(i - 1, 0)], dims[i], pixels, bias=False), norm(dims[i])]
        for mixer in stage:
            parts += [norm(dims[i]), norm(mid_channels(dims[i])), linear(mid_channels(dims[i]), dims[i], pixels)]
            parts.append(count_mixer(mixer, input_map=maps[i], **site(dims[i])))
    return total([*parts, linear(dims[-1], num_classes, 1)])


def site(dim: int) -> dict[str, int]:
    """Widths of the mixer in a stage of so many channels: q and k a sixteenth, v a quarter, rounded up to fit heads."""
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
