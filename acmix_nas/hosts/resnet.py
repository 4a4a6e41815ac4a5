"""Host `resnet`: ResNet 26, 38 and 50 (He et al. 2016, arXiv 1512.03385) on timm's parts.

The mixer stands in the place of every 3x3 convolution, as in stand-alone self-attention (Ramachandran et al. 2019,
arXiv 1906.05909), whose network it is with `combine="att"` everywhere; with operator "conv" it is the ordinary ResNet.
Names of parameters are timm's and torchvision's, the mixer's below `layerI.J.conv2`.
"""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

from timm.layers.classifier import create_classifier
from timm.layers.drop import DropPath, calculate_drop_path_rates
from timm.models import named_apply
from timm.models.resnet import Bottleneck, ResNet
from torch import nn

from acmix_nas.arch import DEFAULTS, Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.hosts import CountMixer, HostOptions, MakeMixer, NamedModel, map_sizes, scaled
from acmix_nas.hosts.layers import Float32Conv2d, Host, init_convnet
from acmix_nas.parts import Counted, Placed, area, below, linear, norm, placed
from acmix_nas.sizes import Pair, Size, pair

WIDTHS = (64, 128, 256, 512)
STEM_KERNEL = 7
PATCH_SIZE = 4

FEATURES = {"out_indices": (0, 1, 2, 3, 4)}


class ACmixResNet(Host, ResNet):
    """ResNet with a mixer of its own in every bottleneck: x + conv3(relu(bn2(mixer(relu(bn1(conv1(x))))))).

    What it shares with timm's model it inherits; only the construction of stem and blocks differs. It takes images of
    any size. Under autocast the first convolution and the projections stay in float32: in bf16 they alone turn the
    gradient at the start (docs/train.md).

    Args:
        arch: The network.
        make_mixer: Builds a block's mixing module.
        options: `img_size` has no effect; `patch_size` is the downsampling of the stem: 4 for stride and max-pool
            (if None too), 2 for the stride, 1 for none.
    """

    conv1: Any
    maxpool: Any

    def __init__(self, arch: Arch, make_mixer: MakeMixer, options: HostOptions) -> None:
        nn.Module.__init__(self)
        patch_size = options.patch_size or PATCH_SIZE
        planes = scaled(WIDTHS, options.width, len(arch.stages))
        self.arch = arch
        self.width = options.width
        self.patch_size = patch_size
        self.num_classes = options.num_classes
        self.in_chans = options.in_chans
        self.img_size = None
        self.drop_rate = options.drop_rate
        self.grad_checkpointing = False
        self._build_stem(planes[0])
        self._build_stages(make_mixer, planes, options.drop_path_rate)
        self.num_features = planes[-1] * Bottleneck.expansion
        self.global_pool, self.fc = create_classifier(
            self.num_features, options.num_classes, pool_type=options.global_pool
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        self.init_weights(needs_reset=False)

    def _build_stem(self, channels: int) -> None:
        stride, pool_stride = stem_strides(self.patch_size)
        self.conv1 = Float32Conv2d(self.in_chans, channels, STEM_KERNEL, stride, STEM_KERNEL // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, pool_stride, 1) if pool_stride > 1 else nn.Identity()
        self.feature_info = [{"num_chs": channels, "reduction": stride, "module": "act1"}]

    def _build_stages(self, make_mixer: MakeMixer, planes: Sequence[int], drop_path_rate: float) -> None:
        rates: Any = calculate_drop_path_rates(drop_path_rate, list(self.arch.depths), stagewise=True)
        inputs = planes[0]
        for i, stage in enumerate(self.arch.stages):
            blocks = []
            for j, mixer in enumerate(stage):
                stride = 2 if i and not j else 1
                blocks.append(Block(mixer, make_mixer, inputs, planes[i], stride, drop_path=rates[i][j]))
                inputs = planes[i] * Bottleneck.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
            info = {"num_chs": inputs, "reduction": self.patch_size * 2**i, "module": f"layer{i + 1}"}
            self.feature_info.append(info)

    def init_weights(self, zero_init_last: bool = True, needs_reset: bool = True) -> None:
        """Draws the weights as timm's ResNet; the mixers' own layers come last and are set by themselves.

        Args:
            zero_init_last: Whether the last norm of every block starts at 0.
            needs_reset: Whether layers that know their own start values draw them again, as after `to_empty`.
        """
        named_apply(partial(init_convnet, needs_reset=needs_reset), self)
        for block in self._blocks():
            if zero_init_last:
                block.zero_init_last()

    def mixers(self) -> list[nn.Module]:
        """The mixing modules of all blocks, first to last."""
        return [block.conv2 for block in self._blocks()]

    def norm_pairs(self) -> list[tuple[str, str]]:
        """Names of layers and of the norms that follow them alone."""
        pairs = [("conv1", "bn1")]
        for name, module in self.named_modules():
            if isinstance(module, Block):
                pairs += [(f"{name}.conv{i}", f"{name}.bn{i}") for i in (1, 2, 3)]
                if module.downsample is not None:
                    pairs.append((f"{name}.downsample.0", f"{name}.downsample.1"))
        return pairs

    def _blocks(self) -> list["Block"]:
        return [module for module in self.modules() if isinstance(module, Block)]


class Block(Bottleneck):
    """timm's bottleneck with a mixer for `conv2`."""

    def __init__(
        self, mixer: Mixer, make_mixer: MakeMixer, inputs: int, planes: int, stride: int, *, drop_path: float
    ) -> None:
        projection = None
        if needs_projection(inputs, planes, stride):
            # At the start the blocks add nothing, so that all is read through these projections.
            outputs = planes * Bottleneck.expansion
            projection = nn.Sequential(Float32Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        drop = DropPath(drop_path) if drop_path > 0 else None
        super().__init__(inputs, planes, stride, projection, drop_path=drop)
        self.conv2 = make_mixer(mixer, in_channels=planes, out_channels=planes, stride=stride)


build = ACmixResNet


def count(arch: Arch, count_mixer: CountMixer, options: HostOptions, input_size: Size) -> Iterator[Placed]:
    """The parts of the network, by arithmetic; see `acmix_nas.hosts`."""
    planes = scaled(WIDTHS, options.width, len(arch.stages))
    stem_stride, pool_stride = stem_strides(options.patch_size)
    maps = map_sizes(input_size, stem_stride * pool_stride, len(planes))
    inputs, pixels = planes[0], area(pair(input_size), stem_stride)
    stem = linear("conv1", options.in_chans * STEM_KERNEL**2, inputs, pixels, bias=False)
    yield placed("", None, stem, norm("bn1", inputs))
    for i, stage in enumerate(arch.stages):
        for j, mixer in enumerate(stage):
            input_map, stride = (maps[i - 1], 2) if i and not j else (maps[i], 1)
            block = _counted(count_mixer, mixer, inputs, planes[i], input_map, stride)
            yield Placed(f"layer{i + 1}.{j}", i, block)
            inputs = planes[i] * Bottleneck.expansion
    yield placed("", None, linear("fc", inputs, options.num_classes))


@cache
def _counted(count_mixer: CountMixer, mixer: Mixer, inputs: int, planes: int, input_map: Pair, stride: int) -> Counted:
    """A block; the first convolution runs before the stride."""
    outputs, pixels, strided = planes * Bottleneck.expansion, area(input_map), area(input_map, stride)
    mixing = count_mixer(mixer, input_map=input_map, in_channels=planes, out_channels=planes, stride=stride)
    parts = [linear("conv1", inputs, planes, pixels, bias=False, op="mlp"), norm("bn1", planes)]
    parts += [*below("conv2", mixing), norm("bn2", planes)]
    parts += [linear("conv3", planes, outputs, strided, bias=False, op="mlp"), norm("bn3", outputs)]
    if needs_projection(inputs, planes, stride):
        parts += [linear("downsample.0", inputs, outputs, strided, bias=False), norm("downsample.1", outputs)]
    return Counted(tuple(parts))


def needs_projection(inputs: int, planes: int, stride: int) -> bool:
    """Whether the shortcut of a block is projected."""
    return stride > 1 or inputs != planes * Bottleneck.expansion


def stem_strides(patch_size: int | None) -> tuple[int, int]:
    """Strides of the first convolution and of the max-pool; a pool of stride 1 is left out.

    Raises:
        ArchError: The downsampling is not 1, 2 or 4.
    """
    strides = {1: (1, 1), 2: (2, 1), 4: (2, 2)}
    if (patch_size or PATCH_SIZE) not in strides:
        raise ArchError(f"patch_size, the downsampling of ResNet's stem, is 1, 2 or 4; it is {patch_size}.")
    return strides[patch_size or PATCH_SIZE]


def _arch(*, depths: Sequence[int]) -> Arch:
    """The paper's setting: window 7, 4 heads, kernel 3, `full` kernels that start as shifts, both weights learned."""
    mixer = Mixer(attention="local", attn_kernel=7, combine="learned", **DEFAULTS)
    return Arch(host="resnet", stages=tuple((mixer,) * depth for depth in depths))


CFG: dict[str, Any] = {"first_conv": "conv1", "classifier": "fc", "crop_pct": 0.875}
"""Of timm's default_cfg."""

MODELS = {
    f"acmix_resnet{layers}": NamedModel.of(
        f"ResNet-{layers} with ACmix in every bottleneck", partial(_arch, depths=depths), **CFG
    )
    for layers, depths in ((26, (1, 2, 4, 1)), (38, (2, 3, 5, 2)), (50, (3, 4, 6, 3)))
}
