"""Host `resnet`: ResNet 26, 38 and 50 (He et al. 2016, arXiv 1512.03385) on timm's parts.

The mixer stands in the place of every 3x3 convolution, as in stand-alone self-attention (Ramachandran et al. 2019,
arXiv 1906.05909), whose network it is with `combine="att"` everywhere; with operator "conv" it is the ordinary ResNet.
Names of parameters are timm's and torchvision's, the mixer's below `layerI.J.conv2`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from timm.layers.classifier import create_classifier
from timm.layers.drop import DropPath, calculate_drop_path_rates
from timm.models import named_apply
from timm.models.resnet import Bottleneck, ResNet
from torch import nn

from acmix_nas.arch import Arch, Mixer
from acmix_nas.hosts import UNDECAYED, HostOptions, MakeMixer, NamedModel, scaled
from acmix_nas.hosts._resnet_count import PATCH_SIZE, STEM_KERNEL, WIDTHS, needs_projection, stem_strides
from acmix_nas.hosts._resnet_count import count as count
from acmix_nas.hosts.layers import Float32Conv2d, init_convnet

FEATURES = {"out_indices": (0, 1, 2, 3, 4)}


class ACmixResNet(ResNet):
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

    arch: Arch
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

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay: the weights of the paths and the position biases."""
        return {name for name, _ in self.named_parameters() if name.rpartition(".")[2] in UNDECAYED}

    def _blocks(self) -> list["Block"]:
        return [module for module in self.modules() if isinstance(module, Block)]


class Block(Bottleneck):
    """timm's bottleneck with a mixer for `conv2`."""

    def __init__(
        self, mixer: Mixer, make_mixer: MakeMixer, inputs: int, planes: int, stride: int, *, drop_path: float
    ) -> None:
        outputs = planes * Bottleneck.expansion
        projected = needs_projection(inputs, planes, stride > 1)
        super().__init__(
            inputs,
            planes,
            stride,
            _projection(inputs, outputs, stride) if projected else None,
            drop_path=DropPath(drop_path) if drop_path > 0 else None,
        )
        self.conv2 = make_mixer(mixer, in_channels=planes, out_channels=planes, stride=stride)


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Timm's `downsample_conv`. At the start the blocks add nothing, so that all is read through these projections."""
    return nn.Sequential(Float32Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


build = ACmixResNet


def _arch(*, depths: Sequence[int]) -> Arch:
    """The paper's setting: window 7, 4 heads, kernel 3, `full` kernels that start as shifts, both weights learned."""
    mixer = Mixer(
        attention="local",
        attn_kernel=7,
        conv_kernel=3,
        num_heads=4,
        conv_impl="full",
        conv_init="shift",
        combine="learned",
    )
    return Arch(host="resnet", stages=tuple((mixer,) * depth for depth in depths))


CFG: dict[str, Any] = {"first_conv": "conv1", "classifier": "fc", "crop_pct": 0.875}
"""Of timm's default_cfg."""

MODELS = {
    f"acmix_resnet{layers}": NamedModel.of(
        f"ResNet-{layers} with ACmix in every bottleneck", partial(_arch, depths=depths), **CFG
    )
    for layers, depths in ((26, (1, 2, 4, 1)), (38, (2, 3, 5, 2)), (50, (3, 4, 6, 3)))
}
