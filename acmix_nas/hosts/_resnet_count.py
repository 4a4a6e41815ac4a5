"""Sizes and cost of the host `resnet`, by arithmetic alone."""

from collections.abc import Iterator
from functools import cache

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.hosts import CountMixer, HostOptions, map_sizes, scaled
from acmix_nas.parts import Counted, Placed, area, below, linear, norm
from acmix_nas.sizes import Size, pair

WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
STEM_KERNEL = 7
PATCH_SIZE = 4


def count(arch: Arch, count_mixer: CountMixer, options: HostOptions, input_size: Size) -> Iterator[Placed]:
    """The parts of the network, by arithmetic; see `acmix_nas.hosts`."""
    planes = scaled(WIDTHS, options.width, len(arch.stages))
    stem_stride, pool_stride = stem_strides(options.patch_size)
    maps = map_sizes(input_size, stem_stride * pool_stride, len(planes))
    inputs = planes[0]
    yield Placed("", None, _stem(options.in_chans, inputs, area(pair(input_size), stem_stride)))
    for i, stage in enumerate(arch.stages):
        for j, mixer in enumerate(stage):
            input_map, stride = (maps[i - 1], 2) if i and not j else (maps[i], 1)
            block = _block(count_mixer, mixer, inputs, planes[i], input_map, stride)
            yield Placed(f"layer{i + 1}.{j}", i, block)
            inputs = EXPANSION * planes[i]
    yield Placed("", None, _head(inputs, options.num_classes))


@cache
def _stem(in_chans: int, planes: int, pixels: int) -> Counted:
    return Counted((linear("conv1", in_chans * STEM_KERNEL**2, planes, pixels, bias=False), norm("bn1", planes)))


@cache
def _block(
    count_mixer: CountMixer, mixer: Mixer, inputs: int, planes: int, input_map: tuple[int, int], stride: int
) -> Counted:
    """The first convolution runs before the stride."""
    outputs, pixels, strided = EXPANSION * planes, area(input_map), area(input_map, stride)
    mixing = count_mixer(mixer, input_map=input_map, in_channels=planes, out_channels=planes, stride=stride)
    parts = [linear("conv1", inputs, planes, pixels, bias=False, op="mlp"), norm("bn1", planes)]
    parts += [*below("conv2", mixing), norm("bn2", planes)]
    parts += [linear("conv3", planes, outputs, strided, bias=False, op="mlp"), norm("bn3", outputs)]
    if needs_projection(inputs, planes, stride > 1):
        parts += [linear("downsample.0", inputs, outputs, strided, bias=False), norm("downsample.1", outputs)]
    return Counted(tuple(parts))


@cache
def _head(inputs: int, num_classes: int) -> Counted:
    return Counted((linear("fc", inputs, num_classes),))


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
