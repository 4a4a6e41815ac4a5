"""Host `swin`: Swin Transformer v1 (Liu et al. 2021, arXiv 2103.14030) on timm's parts.

With `combine="att"` in every block it is timm's Swin. Maps are channels-last tensors (B, H, W, C) between blocks.
"""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.classifier import ClassifierHead
from timm.layers.drop import calculate_drop_path_rates
from timm.layers.helpers import to_2tuple
from timm.models import named_apply, swin_transformer
from timm.models._input import update_model_input_size
from torch import nn
from torch.utils.checkpoint import checkpoint

from acmix_nas.arch import DEFAULTS, Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.hosts import CountMixer, HostOptions, MakeMixer, NamedModel, mlp
from acmix_nas.hosts.layers import Host, TransformerBlock, init_transformer, is_symbolic, patches
from acmix_nas.parts import Counted, Placed, area, below, linear, norm, placed
from acmix_nas.sizes import Pair, Size, pair

ROLLS = True
"""Every second block shifts its windows: `acmix_nas.arch` reads it here."""
EMBED_DIM = 96
PATCH_SIZE = 4
MLP_RATIO = 4
IMG_SIZE = 224
HEADS = (3, 6, 12, 24)

FEATURES = {"flatten_sequential": True, "out_indices": (0, 1, 2, 3)}
MAP_NORMS = True
"""In its published dense networks each map gets a LayerNorm."""


class Swin(Host, swin_transformer.SwinTransformer):
    """Swin Transformer with a mixer of its own in every block: x + mixer(norm(x)), then x + MLP(norm(x)).

    What it shares with timm's model it inherits; only the construction of the blocks differs. Attention windows are
    clamped to the maps of `img_size`; images of any other size are padded at run time.

    Args:
        arch: The network.
        make_mixer: Builds a block's mixing module.
        options: `img_size` is 224 if None; `patch_size` is the paper's if None.
    """

    patch_embed: Any
    layers: Any
    head: Any

    def __init__(self, arch: Arch, make_mixer: MakeMixer, options: HostOptions) -> None:
        nn.Module.__init__(self)
        img_size, patch_size = options.img_size or IMG_SIZE, options.patch_size or PATCH_SIZE
        dims = dims_of(arch, options.width)
        self.arch = arch
        self.width = options.width
        self.in_chans = options.in_chans
        self.embed_dim = dims[0]
        self.dynamic_img_size = True
        self.output_fmt = "NHWC"
        self.patch_embed = patches(
            options.in_chans,
            dims[0],
            img_size=to_2tuple(img_size),
            patch_size=to_2tuple(patch_size),
            norm_layer=nn.LayerNorm,
        )
        self._note_sizes()
        self._build_stages(make_mixer, dims, options.drop_path_rate)
        self._build_head(dims[-1], options.num_classes, options.global_pool, options.drop_rate)
        self.init_weights(needs_reset=False)

    def _note_sizes(self) -> None:
        self.img_size, self.patch_size = self.patch_embed.img_size, self.patch_embed.patch_size

    def _build_stages(self, make_mixer: MakeMixer, dims: list[int], drop_path_rate: float) -> None:
        maps = map_sizes(self.patch_embed.img_size, self.patch_embed.patch_size, len(dims))
        rates: Any = calculate_drop_path_rates(drop_path_rate, list(self.arch.depths), stagewise=True)
        reduction = max(self.patch_embed.patch_size)
        self.num_layers = len(dims)
        self.layers = nn.Sequential(
            *(
                Stage(self.arch, i, make_mixer, dims=(dims[max(i - 1, 0)], dim), map_size=maps[i], drop_path=rates[i])
                for i, dim in enumerate(dims)
            )
        )
        self.feature_info = [
            {"num_chs": dim, "reduction": reduction * 2**i, "module": f"layers.{i}"} for i, dim in enumerate(dims)
        ]
        # timm's prune_intermediate_layers cuts this list together with the stages
        self._ref_window_sizes: Any = maps

    def _build_head(self, dim: int, num_classes: int, global_pool: str, drop_rate: float) -> None:
        self.num_classes = num_classes
        self.num_features = dim
        self.global_pool = global_pool
        self.norm = nn.LayerNorm(dim)
        self.head = ClassifierHead(dim, num_classes, global_pool, drop_rate, input_fmt=self.output_fmt)
        self.head_hidden_size = self.head.num_features

    def init_weights(self, mode: str = "", needs_reset: bool = True) -> None:
        """Draws the weights as timm's Swin; the mixers' own layers come last and are set by themselves.

        Args:
            mode: Only timm's default "" is known.
            needs_reset: Whether layers that know their own start values draw them again, as after `to_empty`.
        """
        if mode:
            raise ArchError(f"weight initialisation of Swin has no mode {mode!r}; leave it empty.")
        named_apply(partial(init_transformer, needs_reset=needs_reset), self)

    def mixers(self) -> list[nn.Module]:
        """The mixing modules of all blocks, first to last."""
        return [module.attn for module in self.layers.modules() if isinstance(module, Block)]

    def set_input_size(
        self,
        img_size: Size | None = None,
        patch_size: Size | None = None,
        window_size: object = None,
        window_ratio: object = None,
        always_partition: object = None,
    ) -> None:
        """Fits the model to another image; windows stay those of the arch, clamped to the new maps.

        Args:
            img_size: Height and width in pixels; as it is if None.
            patch_size: Extent of a patch in pixels; as it is if None.
            window_size: None; timm's argument, but windows are the arch's.
            window_ratio: None, likewise.
            always_partition: None, likewise.

        Raises:
            ArchError: Windows are given.
        """
        if (window_size, window_ratio, always_partition) != (None, None, None):
            raise ArchError("windows are attn_kernel of the arch's mixers; change the arch, and build it again.")
        img_size = None if img_size is None else to_2tuple(img_size)
        patch_size = None if patch_size is None else to_2tuple(patch_size)
        self.patch_embed.set_input_size(img_size=img_size, patch_size=patch_size)
        self._note_sizes()
        for i, info in enumerate(self.feature_info):
            info["reduction"] = max(self.patch_embed.patch_size) * 2**i
        maps = map_sizes(self.patch_embed.img_size, self.patch_embed.patch_size, len(self.layers))
        for stage, map_size in zip(self.layers, maps, strict=True):
            stage.set_input_size(map_size)
        update_model_input_size(self, self.patch_embed.img_size, patch_size=patch_size)


class Stage(nn.Module):
    """Patch merging, except in the first stage, then blocks of which every second one is shifted."""

    def __init__(
        self,
        arch: Arch,
        index: int,
        make_mixer: MakeMixer,
        *,
        dims: tuple[int, int],
        map_size: tuple[int, int],
        drop_path: Sequence[float],
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.downsample = PatchMerging(*dims) if index else nn.Identity()
        blocks = []
        for i, mixer in enumerate(arch.stages[index]):
            site = {"map_size": map_size, "shifted": i % 2 == 1, "conv_on": arch.conv_on}
            module = make_mixer(mixer, in_channels=dims[1], out_channels=dims[1], fc_bias=True, **site)
            blocks.append(Block(module, dims[1], shifted=i % 2 == 1, drop_path=drop_path[i]))
        self.blocks = nn.Sequential(*blocks)

    def set_input_size(self, map_size: tuple[int, int]) -> None:
        """Fits the mixers to a map (height, width)."""
        for block in self.blocks:
            fit = getattr(block.attn, "set_input_size", None)
            if fit is not None:
                fit(map_size, shifted=block.shifted)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C), or the same shape in the first stage."""
        x = self.downsample(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.grad_checkpointing else block(x)
        return x


class PatchMerging(swin_transformer.PatchMerging):
    """timm's: the four pixels of a square side by side, norm, linear layer; odd maps are filled up with zeros."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C)."""
        if not is_symbolic(x):
            merged: torch.Tensor = super().forward(x)
            return merged
        # The windows of one padding pixel too many are those that are needed: the size has no remainder in it.
        squares_BhwC22 = F.pad(x, (0, 0, 0, 1, 0, 1)).unfold(1, 2, 2).unfold(2, 2, 2)
        y: torch.Tensor = self.reduction(self.norm(squares_BhwC22.permute(0, 1, 2, 5, 4, 3).flatten(3)))
        return y


class Block(TransformerBlock):
    """A block of maps (B, H, W, C), whose windows may be shifted."""

    def __init__(self, mixer: nn.Module, dim: int, *, shifted: bool, drop_path: float) -> None:
        super().__init__(mixer, dim, MLP_RATIO, norm_eps=1e-5, drop_path=drop_path)
        self.shifted = shifted

    def mix(self, x: torch.Tensor, *size: tuple[int, int]) -> torch.Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        mixed: torch.Tensor = self.attn(x.permute(0, 3, 1, 2))
        return mixed.permute(0, 2, 3, 1)


build = Swin


def count(arch: Arch, count_mixer: CountMixer, options: HostOptions, input_size: Size) -> Iterator[Placed]:
    """The parts of the network, by arithmetic; see `acmix_nas.hosts`."""
    dims = dims_of(arch, options.width)
    patch = pair(options.patch_size or PATCH_SIZE)
    built_maps = map_sizes(pair(options.img_size or input_size), patch, len(dims))
    input_maps = map_sizes(pair(input_size), patch, len(dims))
    patches = linear("proj", options.in_chans * area(patch), dims[0], area(input_maps[0]))
    yield placed("patch_embed", None, patches, norm("norm", dims[0]))
    for i, stage in enumerate(arch.stages):
        if i:
            square = 4 * dims[i - 1]
            reduction = linear("reduction", square, dims[i], area(input_maps[i]), bias=False)
            yield placed(f"layers.{i}.downsample", i, norm("norm", square), reduction)
        for j, mixer in enumerate(stage):
            block = _counted(count_mixer, mixer, dims[i], input_maps[i], built_maps[i], j % 2 == 1, arch.conv_on)
            yield Placed(f"layers.{i}.blocks.{j}", i, block)
    yield placed("", None, norm("norm", dims[-1]), linear("head.fc", dims[-1], options.num_classes))


@cache
def _counted(
    count_mixer: CountMixer, mixer: Mixer, dim: int, input_map: Pair, map_size: Pair, shifted: bool, conv_on: str | None
) -> Counted:
    """A block."""
    site = {"map_size": map_size, "shifted": shifted, "conv_on": conv_on, "fc_bias": True}
    mixing = count_mixer(mixer, input_map=input_map, in_channels=dim, out_channels=dim, **site)
    hidden = mlp(dim, MLP_RATIO, area(input_map))
    return Counted((norm("norm1", dim), *below("attn", mixing), norm("norm2", dim), *hidden))


def dims_of(arch: Arch, width: float) -> list[int]:
    """Channels of each stage."""
    first = round(EMBED_DIM * width)
    if first < 1:
        raise ArchError(f"width times {EMBED_DIM} is at least 1; width is {width}.")
    return [first * 2**i for i in range(len(arch.stages))]


def map_sizes(img_size: Pair, patch_size: Pair, stages: int) -> list[Pair]:
    """(height, width) of each stage; patches and merging round up."""
    height, width = (ceil(extent / patch) for extent, patch in zip(img_size, patch_size, strict=True))
    return [(ceil(height / 2**i), ceil(width / 2**i)) for i in range(stages)]


def _arch(*, depths: Sequence[int]) -> Arch:
    """The paper's setting: window 7, kernel 3, `full` kernels that start as shifts, both weights learned."""
    mixers = [
        Mixer(**{**DEFAULTS, "attention": "window", "attn_kernel": 7, "num_heads": heads, "combine": "learned"})
        for heads in HEADS
    ]
    stages = tuple((mixer,) * depth for mixer, depth in zip(mixers, depths, strict=True))
    return Arch(host="swin", stages=stages, conv_on="rolled")


CFG: dict[str, Any] = {"first_conv": "patch_embed.proj", "classifier": "head.fc", "crop_pct": 0.9}
"""Of timm's default_cfg."""

MODELS = {
    "acmix_swin_tiny_patch4_window7_224": NamedModel.of(
        "Swin-T with ACmix in every block", partial(_arch, depths=(2, 2, 6, 2)), 0.2, **CFG
    ),
    "acmix_swin_small_patch4_window7_224": NamedModel.of(
        "Swin-S with ACmix in every block", partial(_arch, depths=(2, 2, 18, 2)), 0.3, **CFG
    ),
}
