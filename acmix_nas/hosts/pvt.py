"""Host `pvt`: PVT v1 tiny and small (Wang et al. 2021, arXiv 2102.12122) on timm's layers.

With `combine="att"` in every block it is PVT. The ACmix form (Pan et al. 2022) adds the convolution path beside proj;
it sees the reduced keys and values nearest-upsampled, and ends in a bias. The class token of the last stage is not
convolved; where no block of that stage attends over the whole map there is none, and the head reads the map's mean.
"""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

import torch
from timm.layers.drop import calculate_drop_path_rates
from timm.models import named_apply
from torch import nn

from acmix_nas.arch import DEFAULTS, MAP_WIDE_ATTENTION, Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.hosts import CountMixer, HostOptions, MakeMixer, NamedModel, map_sizes, mlp, scaled
from acmix_nas.hosts._pvt_blocks import NORM_EPS, Block, Stage
from acmix_nas.hosts.layers import UNDECAYED, StagedHost, init_transformer
from acmix_nas.parts import Counted, Part, Placed, area, below, linear, norm, placed
from acmix_nas.sizes import Pair, Size, pair

WIDTHS = (64, 128, 320, 512)
MLP_RATIOS = (8, 8, 4, 4)
SR_RATIOS = (8, 4, 2, 1)
PATCH_SIZE = 4
IMG_SIZE = 224
HEADS = (1, 2, 5, 8)
POOLS = ("token", "avg", "")

FEATURES = {"feature_cls": "getter", "out_indices": (0, 1, 2, 3)}


class Pvt(StagedHost):
    """Pyramid vision transformer with a mixer of its own in every block: x + mixer(norm(x)), then x + MLP(norm(x)).

    Images of any size are taken: positions are interpolated, patches and reductions padded with zeros.

    Args:
        arch: The network.
        make_mixer: Builds a block's mixing module.
        options: Its positions are learned for `img_size`, 224 if None; `global_pool` "avg" reads the class token if
            there is one, else the map's mean, and "" all tokens. Without `class_token` there is none.
    """

    undecayed = (*UNDECAYED, "pos_embed", "cls_token")
    global_pool: str

    def __init__(self, arch: Arch, make_mixer: MakeMixer, options: HostOptions) -> None:
        super().__init__()
        img_size, patch_size = options.img_size or IMG_SIZE, options.patch_size or PATCH_SIZE
        dims = scaled(WIDTHS, options.width, len(arch.stages))
        self.arch = arch
        self.width = options.width
        self.img_size = pair(img_size)
        self.patch_size = patch_size
        self.in_chans = options.in_chans
        self.class_token = options.class_token
        self.num_prefix_tokens = int(options.class_token and has_token(arch))
        self._build_stages(make_mixer, dims, options.drop_path_rate)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dims[-1])) if self.num_prefix_tokens else None
        self.norm: nn.Module = nn.LayerNorm(dims[-1], NORM_EPS)
        self.num_features = self.head_hidden_size = dims[-1]
        self.head_drop = nn.Dropout(options.drop_rate)
        pool = "token" if options.global_pool == "avg" and self.num_prefix_tokens else options.global_pool
        self.reset_classifier(options.num_classes, pool)
        self.init_weights(needs_reset=False)

    def _build_stages(self, make_mixer: MakeMixer, dims: list[int], drop_path_rate: float) -> None:
        maps = map_sizes(self.img_size, self.patch_size, len(dims))
        rates: Any = calculate_drop_path_rates(drop_path_rate, list(self.arch.depths), stagewise=True)
        stages = []
        for i, mixers in enumerate(self.arch.stages):
            token = bool(self.num_prefix_tokens) and i == len(dims) - 1
            blocks = []
            for mixer, rate in zip(mixers, rates[i], strict=True):
                module = make_mixer(mixer, **site(i, mixer, dims[i], maps[i], token=token))
                blocks.append(
                    Block(module, dims[i], MLP_RATIOS[i], reads_token=token and reads_token(mixer), drop_path=rate)
                )
            inputs, patch = (dims[i - 1], 2) if i else (self.in_chans, self.patch_size)
            stages.append(Stage(inputs, dims[i], patch, maps[i], token=token, blocks=blocks))
        self.stages = nn.ModuleList(stages)
        self.feature_info = [
            {"num_chs": dim, "reduction": self.patch_size * 2**i, "module": f"stages.{i}"} for i, dim in enumerate(dims)
        ]

    def init_weights(self, needs_reset: bool = True) -> None:
        """Draws the weights as PVT; the mixers' own layers come last and are set by themselves.

        Args:
            needs_reset: Whether layers that know their own start values draw them again, as after `to_empty`.
        """
        named_apply(partial(init_transformer, needs_reset=needs_reset), self)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)

    def mixers(self) -> list[nn.Module]:
        """The mixing modules of all blocks, first to last."""
        return [module.attn for module in self.stages.modules() if isinstance(module, Block)]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names, for layer-wise learning rates; `coarse` groups whole stages."""
        fine = [
            (r"^stages\.(\d+)\.(?:patch_embed|pos_embed)", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^norm", (99999,)),
        ]
        stem = r"^cls_token|^stages\.0\.(?:patch_embed|pos_embed)"
        return {"stem": stem, "blocks": [(r"^stages\.(\d+)", None), (r"^norm", (99999,))] if coarse else fine}

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new head for a number of classes; 0 for none.

        Args:
            num_classes: Classes of the head.
            global_pool: What it reads: "token", "avg" for the map's mean, "" for all; as it is if None.

        Raises:
            ArchError: There is no such pooling, or no class token to read.
        """
        pool = self.global_pool if global_pool is None else global_pool
        pools = POOLS if self.num_prefix_tokens else POOLS[1:]
        if pool not in pools:
            raise ArchError(f"global_pool is one of {', '.join(map(repr, pools))} in this network; it is {pool!r}.")
        self.num_classes = num_classes
        self.global_pool = pool
        self.head: nn.Module = nn.Identity()
        if num_classes > 0:
            like = next(self.stages.parameters())
            self.head = nn.Linear(self.num_features, num_classes, device=like.device, dtype=like.dtype)
            init_transformer(self.head, needs_reset=False)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops what `forward_intermediates` of these stages does not need, as timm."""
        wanted = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        pruned = len(self.stages) < len(self.feature_info)
        if prune_norm or pruned:
            self.norm = nn.Identity()
        if pruned:
            self.cls_token = None
            self.head_hidden_size = self.num_features
        return wanted

    def run_stage(self, index: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The map (B, C, h, w) after a stage; after the last one the class token (B, 1, C) too."""
        is_last = index == len(self.feature_info) - 1
        y: tuple[torch.Tensor, torch.Tensor | None] = self.stages[index](x, self.cls_token if is_last else None)
        return y

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """The last map under the norm, (B, C, h, w)."""
        y: torch.Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return y

    def finish(self, x: torch.Tensor, token: torch.Tensor | None) -> torch.Tensor:
        """Normalised tokens (B, L, C): the class token, if any, and the pixels."""
        pixels = x.flatten(2).transpose(1, 2)
        y: torch.Tensor = self.norm(pixels if token is None else torch.cat((token, pixels), 1))
        return y

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Reads the class token or the mean, and classifies it, unless `pre_logits`."""
        if self.global_pool:
            x = x[:, 0] if self.global_pool == "token" else x[:, self.num_prefix_tokens :].mean(1)
        y: torch.Tensor = self.head_drop(x)
        return y if pre_logits else self.head(y)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, H, W) -> (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


build = Pvt


def count(arch: Arch, count_mixer: CountMixer, options: HostOptions, input_size: Size) -> Iterator[Placed]:
    """The parts of the network, by arithmetic; see `acmix_nas.hosts`."""
    dims = scaled(WIDTHS, options.width, len(arch.stages))
    patch = options.patch_size or PATCH_SIZE
    built_maps = map_sizes(options.img_size or input_size, patch, len(dims))
    input_maps = map_sizes(input_size, patch, len(dims))
    has_one = options.class_token and has_token(arch)
    if has_one:
        yield placed("", None, Part("cls_token", None, "other", dims[-1]))
    for i, stage in enumerate(arch.stages):
        window = 4 * dims[i - 1] if i else patch**2 * options.in_chans
        token = i == len(dims) - 1 and has_one
        patches = linear("patch_embed.proj", window, dims[i], area(input_maps[i]))
        positions = Part("pos_embed", None, "other", dims[i] * (area(built_maps[i]) + token))
        yield placed(f"stages.{i}", i, patches, norm("patch_embed.norm", dims[i]), positions)
        for j, mixer in enumerate(stage):
            place = site(i, mixer, dims[i], built_maps[i], token=token)
            block = _counted(count_mixer, mixer, MLP_RATIOS[i], input_maps[i], token, **place)
            yield Placed(f"stages.{i}.blocks.{j}", i, block)
    yield placed("", None, norm("norm", dims[-1]), linear("head", dims[-1], options.num_classes))


@cache
def _counted(count_mixer: CountMixer, mixer: Mixer, ratio: int, input_map: Pair, token: bool, **place: Any) -> Counted:
    """A block."""
    dim = place["out_channels"]
    mixing = below("attn", count_mixer(mixer, input_map=input_map, **place))
    return Counted((norm("norm1", dim), *mixing, norm("norm2", dim), *mlp(dim, ratio, area(input_map) + token)))


def site(index: int, mixer: Mixer, dim: int, map_size: Pair, *, token: bool) -> dict[str, Any]:
    """What a mixer knows of its place in a stage, which has a class token or not."""
    return {
        "in_channels": dim,
        "out_channels": dim,
        "map_size": map_size,
        "sr_ratio": SR_RATIOS[index],
        "class_token": token and reads_token(mixer),
        "kernel_bias": True,
    }


def has_token(arch: Arch) -> bool:
    """Whether there is a class token: only where a block of the last stage lets it see the map."""
    return any(reads_token(mixer) for mixer in arch.stages[-1])


def reads_token(mixer: Mixer) -> bool:
    """Whether a class token attends in this mixer."""
    return mixer.attention in MAP_WIDE_ATTENTION


def _arch(*, depths: Sequence[int]) -> Arch:
    """The paper's setting: 64 channels a head, kernel 3, `full` kernels that start as shifts, both weights learned."""
    mixers = [Mixer(**{**DEFAULTS, "attention": "global", "num_heads": heads, "combine": "learned"}) for heads in HEADS]
    return Arch(host="pvt", stages=tuple((mixer,) * depth for mixer, depth in zip(mixers, depths, strict=True)))


CFG: dict[str, Any] = {"first_conv": "stages.0.patch_embed.proj", "classifier": "head", "crop_pct": 0.9}
"""Of timm's default_cfg."""

MODELS = {
    "acmix_pvt_tiny": NamedModel.of(
        "PVT-Tiny with ACmix in every block", partial(_arch, depths=(2, 2, 2, 2)), 0.1, **CFG
    ),
    "acmix_pvt_small": NamedModel.of(
        "PVT-Small with ACmix in every block", partial(_arch, depths=(3, 4, 6, 3)), 0.1, **CFG
    ),
}
