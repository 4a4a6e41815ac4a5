"""Host `pvt`: PVT v1 tiny and small (Wang et al. 2021, arXiv 2102.12122) on timm's layers.

With `combine="att"` in every block it is PVT. The ACmix form (Pan et al. 2022) adds the convolution path beside proj;
it sees the reduced keys and values nearest-upsampled, and ends in a bias. The class token of the last stage is not
convolved; where no block of that stage attends over the whole map there is none, and the head reads the map's mean.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm.layers.drop import calculate_drop_path_rates
from timm.models import named_apply
from timm.models._features import feature_take_indices
from torch import nn

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.hosts import UNDECAYED, HostOptions, MakeMixer, NamedModel, map_sizes, scaled
from acmix_nas.hosts._pvt_blocks import NORM_EPS, Block, Stage
from acmix_nas.hosts._pvt_count import MLP_RATIOS, PATCH_SIZE, WIDTHS, has_token, reads_token, site
from acmix_nas.hosts._pvt_count import count as count
from acmix_nas.hosts.layers import init_transformer
from acmix_nas.sizes import pair

IMG_SIZE = 224
HEADS = (1, 2, 5, 8)
POOLS = ("token", "avg", "")

FEATURES = {"feature_cls": "getter", "out_indices": (0, 1, 2, 3)}


class Pvt(nn.Module):
    """Pyramid vision transformer with a mixer of its own in every block: x + mixer(norm(x)), then x + MLP(norm(x)).

    Images of any size are taken: positions are interpolated, patches and reductions padded with zeros.

    Args:
        arch: The network.
        make_mixer: Builds a block's mixing module.
        options: Its positions are learned for `img_size`, 224 if None; `global_pool` "avg" reads the class token if
            there is one, else the map's mean, and "" all tokens.
    """

    arch: Arch
    stages: Any
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
        self.num_prefix_tokens = int(has_token(arch))
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
                module = make_mixer(mixer, **site(self.arch, i, mixer, dims[i], maps[i]))
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

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay: positions, the class token and the weights of the paths."""
        last = (*UNDECAYED, "pos_embed", "cls_token")
        return {name for name, _ in self.named_parameters() if name.rpartition(".")[2] in last}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names, for layer-wise learning rates; `coarse` groups whole stages."""
        fine = [
            (r"^stages\.(\d+)\.(?:patch_embed|pos_embed)", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^norm", (99999,)),
        ]
        stem = r"^cls_token|^stages\.0\.(?:patch_embed|pos_embed)"
        return {"stem": stem, "blocks": [(r"^stages\.(\d+)", None), (r"^norm", (99999,))] if coarse else fine}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether blocks are computed again in the backward pass instead of kept."""
        for stage in self.stages:
            stage.grad_checkpointing = enable

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

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """The maps after some stages, as timm.

        Args:
            x: Images (B, in_chans, H, W).
            indices: Stages; the last n if a number, all if None.
            norm: Whether the last stage's map is normalised.
            stop_early: Whether later stages are left out; the last result is then unfinished.
            output_fmt: "NCHW".
            intermediates_only: Whether the last result is left out.

        Returns:
            What `forward_features` returns, and the maps (B, C, h, w) of the stages.
        """
        assert output_fmt == "NCHW", "Output shape must be NCHW."
        wanted, last = feature_take_indices(len(self.stages), indices)
        intermediates, token, final = [], None, len(self.feature_info) - 1
        for i, stage in enumerate(self.stages[: last + 1] if stop_early else self.stages):
            x, token = stage(x, self.cls_token if i == final else None)
            if i in wanted:
                pixels = x.permute(0, 2, 3, 1)
                intermediates.append(self.norm(pixels).permute(0, 3, 1, 2) if norm and i == final else x)
        return intermediates if intermediates_only else (self._tokens(x, token), intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops what `forward_intermediates` of these stages does not need, as timm."""
        wanted, last = feature_take_indices(len(self.stages), indices)
        self.stages = self.stages[: last + 1]
        pruned = last + 1 < len(self.feature_info)
        if prune_norm or pruned:
            self.norm = nn.Identity()
        if pruned:
            self.cls_token = None
            self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_head or pruned:
            self.reset_classifier(0, "")
        return wanted

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised tokens (B, L, C) of images (B, in_chans, H, W): the class token, if any, and the pixels."""
        token = None
        for i, stage in enumerate(self.stages):
            x, token = stage(x, self.cls_token if i == len(self.stages) - 1 else None)
        return self._tokens(x, token)

    def _tokens(self, x: torch.Tensor, token: torch.Tensor | None) -> torch.Tensor:
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


def _arch(*, depths: Sequence[int]) -> Arch:
    """The paper's setting: 64 channels a head, kernel 3, `full` kernels that start as shifts, both weights learned."""
    mixers = [
        Mixer(
            attention="global", conv_kernel=3, num_heads=heads, conv_impl="full", conv_init="shift", combine="learned"
        )
        for heads in HEADS
    ]
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
