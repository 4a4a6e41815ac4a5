"""Sizes and cost of the host `resnet`, by arithmetic alone."""

from acmix_nas.arch import Arch
from acmix_nas.errors import ArchError
from acmix_nas.hosts import Count, CountMixer, Size, linear, map_sizes, norm, pair, scaled, total

WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
STEM_KERNEL = 7
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
        img_size: Without effect: the network is built for any image.
        patch_size: Downsampling of the stem; the paper's if None.
        width: Multiplier of all widths.
    """
    planes = scaled(WIDTHS, width, len(arch.stages))
    stem_stride, pool_stride = stem_strides(patch_size)
    maps = map_sizes(input_size, stem_stride * pool_stride, len(planes))
    inputs = planes[0]
    parts = [linear(in_chans * STEM_KERNEL**2, inputs, _area(pair(input_size), stem_stride), bias=False), norm(inputs)]
    for i, stage in enumerate(arch.stages):
        for j, mixer in enumerate(stage):
            strided = i > 0 and j == 0
            input_map, stride = (maps[i - 1], 2) if strided else (maps[i], 1)
            site = {"in_channels": planes[i], "out_channels": planes[i], "stride": stride}
            parts.append(count_mixer(mixer, input_map=input_map, **site))
            parts += _bottleneck(inputs, planes[i], _area(input_map, 1), _area(maps[i], 1), shortcut=j == 0)
            inputs = EXPANSION * planes[i]
    return total([*parts, linear(inputs, num_classes, 1)])


def _bottleneck(inputs: int, planes: int, pixels: int, strided: int, *, shortcut: bool) -> list[Count]:
    """The part of a block that is no mixer; its first convolution runs before the stride."""
    outputs = EXPANSION * planes
    parts = [linear(inputs, planes, pixels, bias=False), linear(planes, outputs, strided, bias=False)]
    parts += [norm(planes), norm(planes), norm(outputs)]
    if shortcut and needs_projection(inputs, planes, pixels != strided):
        parts += [linear(inputs, outputs, strided, bias=False), norm(outputs)]
    return parts


def needs_projection(inputs: int, planes: int, strided: bool) -> bool:
    """Whether the shortcut of a block is projected."""
    return strided or inputs != EXPANSION * planes


def stem_strides(patch_size: int | None) -> tuple[int, int]:
    """Strides of the first convolution and of the max-pool; a pool of stride 1 is left out.

    Raises:
        ArchError: The downsampling is not 1, 2 or 4.
    """
    strides = {1: (1, 1), 2: (2, 1), 4: (2, 2)}
    if (patch_size or PATCH_SIZE) not in strides:
        raise ArchError(f"patch_size, the downsampling of ResNet's stem, is 1, 2 or 4; it is {patch_size}.")
    return strides[patch_size or PATCH_SIZE]


def _area(size: tuple[int, int], stride: int) -> int:
    return -(-size[0] // stride) * -(-size[1] // stride)
