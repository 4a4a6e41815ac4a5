"""Host `san`: SAN 10, 15 and 19 (Zhao et al. 2020, arXiv 2004.13621), pre-activation residual blocks in five stages.

With `combine="att"` in every block it is SAN, patchwise or pairwise. The ACmix form (Pan et al. 2022) is derived from
its published sizes: the first stage stays SAN's, the others add the convolution path before the second norm.
"""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from math import ceil
from typing import Any

import torch
from timm.layers.classifier import ClassifierHead
from timm.layers.drop import DropPath, calculate_drop_path_rates
from timm.models import named_apply
from timm.models._features_fx import register_notrace_module
from torch import nn
from torch.utils.checkpoint import checkpoint

from acmix_nas.arch import DEFAULTS, Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.hosts import CountMixer, HostOptions, MakeMixer, NamedModel, map_sizes, scaled
from acmix_nas.hosts.layers import Float32Conv2d, StagedHost, init_convnet, without_autocast
from acmix_nas.parts import Counted, Placed, area, below, linear, norm, placed
from acmix_nas.sizes import Pair, Size, pair

WIDTHS = (64, 256, 512, 1024, 2048)
PATCH_SIZE = 2
KEYS_UNIT = 4
"""Channels of q and k are a multiple of the paper's four heads, whatever the width."""

FEATURES = {"flatten_sequential": True, "out_indices": (0, 1, 2, 3, 4)}


class San(StagedHost):
    """SAN with a mixer of its own in every block: x + conv(relu(norm2(mixer(relu(norm1(x)))))).

    Images of any size are taken; max-pools round up. Autocast reaches the head alone: what is rounded to bf16 in any
    stage is enlarged by the norms behind it until the gradient points elsewhere (docs/train.md).

    Args:
        arch: The network.
        make_mixer: Builds a block's mixing module.
        options: `img_size` has no effect; `patch_size` is the downsampling before the first blocks: 2 for the paper's
            max-pool (if None too), 1 for none.
    """

    head: Any

    def __init__(self, arch: Arch, make_mixer: MakeMixer, options: HostOptions) -> None:
        super().__init__()
        patch_size = options.patch_size or PATCH_SIZE
        dims = scaled(WIDTHS, options.width, len(arch.stages))
        rates: Any = calculate_drop_path_rates(options.drop_path_rate, list(arch.depths), stagewise=True)
        self.arch = arch
        self.width = options.width
        self.patch_size = checked_patch(patch_size)
        self.num_classes = options.num_classes
        self.in_chans = options.in_chans
        self.img_size = None
        first = Float32Conv2d(options.in_chans, dims[0], 1, bias=False, keeps=True)
        self.stem = nn.Sequential(first, nn.BatchNorm2d(dims[0]), nn.ReLU())
        stages = []
        for i, mixers in enumerate(arch.stages):
            blocks = [Block(make_mixer(m, **site(dims[i])), dims[i], rates[i][j]) for j, m in enumerate(mixers)]
            stages.append(Stage(dims[max(i - 1, 0)], dims[i], patch_size if i == 0 else 2, blocks))
        self.stages = nn.Sequential(*stages)
        self.feature_info = [
            {"num_chs": dim, "reduction": patch_size * 2**i, "module": f"stages.{i}"} for i, dim in enumerate(dims)
        ]
        self.num_features = dims[-1]
        self.head = ClassifierHead(dims[-1], options.num_classes, options.global_pool, options.drop_rate)
        self.head_hidden_size = self.head.num_features
        self.init_weights(needs_reset=False)

    def init_weights(self, needs_reset: bool = True) -> None:
        """Draws the weights as timm's ResNet; the mixers' own layers come last and are set by themselves.

        Args:
            needs_reset: Whether layers that know their own start values draw them again, as after `to_empty`.
        """
        named_apply(partial(init_convnet, needs_reset=needs_reset), self)

    def mixers(self) -> list[nn.Module]:
        """The mixing modules of all blocks, first to last."""
        return [module.mixer for module in self.stages.modules() if isinstance(module, Block)]

    def norm_pairs(self) -> list[tuple[str, str]]:
        """Names of layers and of the norms that follow them alone."""
        blocks = [name for name, module in self.named_modules() if isinstance(module, Block)]
        return [("stem.0", "stem.1"), *((f"{name}.mixer", f"{name}.norm2") for name in blocks)]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names, for layer-wise learning rates; `coarse` groups whole stages."""
        fine = [
            (r"^stages\.(\d+)\.conv", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^stages\.(\d+)\.norm", (99999,)),
        ]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else fine}

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        classifier: nn.Module = self.head.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new head for a number of classes; 0 for none."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """What the stem makes of images (B, in_chans, H, W)."""
        y: torch.Tensor = self.stem(x)
        return y

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pools the last map and classifies it, unless `pre_logits`."""
        y: torch.Tensor = self.head(x, pre_logits=pre_logits)
        return y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, H, W) -> (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


class Stage(nn.Module):
    """In float32: max-pool, 1x1 convolution to the stage's width, blocks, norm and ReLU."""

    def __init__(self, inputs: int, dim: int, pool: int, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True) if pool == 2 else nn.Identity()
        self.conv = Float32Conv2d(inputs, dim, 1, bias=False, keeps=True)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C_in, H, W) -> (B, C, ceil(H/2), ceil(W/2)), or of the same size without a pool."""
        x = self.conv(self.pool(x))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.grad_checkpointing else block(x)
        y: torch.Tensor = self.norm(x).relu()
        return y


@register_notrace_module  # torch.fx loses the context of autocast
class Block(nn.Module):
    """x + DropPath(conv(relu(norm2(mixer(relu(norm1(x)))))))."""

    mixer: nn.Module

    def __init__(self, mixer: nn.Module, dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim)
        self.mixer = mixer
        self.norm2 = nn.BatchNorm2d(mid_channels(dim))
        self.conv = nn.Conv2d(mid_channels(dim), dim, 1)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        with without_autocast(x):
            mixed = self.norm2(self.mixer(self.norm1(x).relu())).relu()
            y: torch.Tensor = x + self.drop_path(self.conv(mixed))
            return y


build = San


def count(arch: Arch, count_mixer: CountMixer, options: HostOptions, input_size: Size) -> Iterator[Placed]:
    """The parts of the network, by arithmetic; see `acmix_nas.hosts`."""
    dims = scaled(WIDTHS, options.width, len(arch.stages))
    maps = map_sizes(input_size, checked_patch(options.patch_size or PATCH_SIZE), len(dims))
    stem = linear("0", options.in_chans, dims[0], area(pair(input_size)), bias=False)
    yield placed("stem", None, stem, norm("1", dims[0]))
    for i, stage in enumerate(arch.stages):
        first = linear("conv", dims[max(i - 1, 0)], dims[i], area(maps[i]), bias=False)
        yield placed(f"stages.{i}", i, first, norm("norm", dims[i]))
        for j, mixer in enumerate(stage):
            yield Placed(f"stages.{i}.blocks.{j}", i, _counted(count_mixer, mixer, dims[i], maps[i]))
    yield placed("head", None, linear("fc", dims[-1], options.num_classes))


@cache
def _counted(count_mixer: CountMixer, mixer: Mixer, dim: int, input_map: Pair) -> Counted:
    """A block."""
    middle = mid_channels(dim)
    mixing = below("mixer", count_mixer(mixer, input_map=input_map, **site(dim)))
    last = linear("conv", middle, dim, area(input_map), op="mlp")
    return Counted((norm("norm1", dim), *mixing, norm("norm2", middle), last))


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


def _arch(*, depths: Sequence[int]) -> Arch:
    """Patchwise attention over 3 x 3, then 7 x 7; from the second stage on kernel 3 and both weights learned."""
    att = Mixer(attention="patchwise", attn_kernel=3, combine="att")
    both = att.having(combine="learned", attn_kernel=7, **DEFAULTS)
    return Arch(host="san", stages=tuple(((both if i else att),) * depth for i, depth in enumerate(depths)))


CFG: dict[str, Any] = {"first_conv": "stem.0", "classifier": "head.fc", "crop_pct": 0.875, "interpolation": "bilinear"}
"""Of timm's default_cfg."""

MODELS = {
    f"acmix_san{blocks}": NamedModel.of(
        f"SAN-{blocks} with ACmix after the first stage", partial(_arch, depths=depths), **CFG
    )
    for blocks, depths in ((10, (2, 1, 2, 4, 1)), (15, (3, 2, 3, 5, 2)), (19, (3, 3, 4, 6, 3)))
}
