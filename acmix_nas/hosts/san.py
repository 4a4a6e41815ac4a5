"""Host `san`: SAN 10, 15 and 19 (Zhao et al. 2020, arXiv 2004.13621), pre-activation residual blocks in five stages.

With `combine="att"` in every block it is SAN, patchwise or pairwise. The ACmix form (Pan et al. 2022) is derived from
its published sizes: the first stage stays SAN's, the others add the convolution path before the second norm.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm.layers.classifier import ClassifierHead
from timm.layers.drop import DropPath, calculate_drop_path_rates
from timm.models import named_apply
from timm.models._features import feature_take_indices
from timm.models._features_fx import register_notrace_module
from torch import nn
from torch.utils.checkpoint import checkpoint

from acmix_nas.arch import Arch, Mixer
from acmix_nas.hosts import UNDECAYED, HostOptions, MakeMixer, NamedModel, scaled
from acmix_nas.hosts._san_count import PATCH_SIZE, WIDTHS, checked_patch, mid_channels, site
from acmix_nas.hosts._san_count import count as count
from acmix_nas.hosts.layers import Float32Conv2d, init_convnet, without_autocast

FEATURES = {"flatten_sequential": True, "out_indices": (0, 1, 2, 3, 4)}


class San(nn.Module):
    """SAN with a mixer of its own in every block: x + conv(relu(norm2(mixer(relu(norm1(x)))))).

    Images of any size are taken; max-pools round up. Autocast reaches the head alone: what is rounded to bf16 in any
    stage is enlarged by the norms behind it until the gradient points elsewhere (docs/train.md).

    Args:
        arch: The network.
        make_mixer: Builds a block's mixing module.
        options: `img_size` has no effect; `patch_size` is the downsampling before the first blocks: 2 for the paper's
            max-pool (if None too), 1 for none.
    """

    arch: Arch
    stages: Any
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

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay: the weights of the paths and the position biases."""
        return {name for name, _ in self.named_parameters() if name.rpartition(".")[2] in UNDECAYED}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names, for layer-wise learning rates; `coarse` groups whole stages."""
        fine = [
            (r"^stages\.(\d+)\.conv", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^stages\.(\d+)\.norm", (99999,)),
        ]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else fine}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether blocks are computed again in the backward pass instead of kept."""
        for stage in self.stages:
            stage.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        classifier: nn.Module = self.head.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new head for a number of classes; 0 for none."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """The maps after some stages, as timm; every stage ends in its norm, whatever `norm`.

        Args:
            x: Images (B, in_chans, H, W).
            indices: Stages; the last n if a number, all if None.
            norm: Without effect here.
            stop_early: Without effect on the result.
            output_fmt: "NCHW".
            intermediates_only: Whether the last map is left out.

        Returns:
            The last map (B, C, h, w) and those of the stages.
        """
        assert output_fmt == "NCHW", "Output shape must be NCHW."
        wanted, last = feature_take_indices(len(self.stages), indices)
        x, intermediates = self.stem(x), []
        for i, stage in enumerate(self.stages[: last + 1] if stop_early else self.stages):
            x = stage(x)
            if i in wanted:
                intermediates.append(x)
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops what `forward_intermediates` of these stages does not need, as timm."""
        wanted, last = feature_take_indices(len(self.stages), indices)
        self.stages = self.stages[: last + 1]
        if prune_head or last + 1 < len(self.feature_info):
            self.num_features = self.feature_info[last]["num_chs"]
            self.reset_classifier(0, "")
        return wanted

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """The last map (B, C, h, w) of images (B, in_chans, H, W)."""
        y: torch.Tensor = self.stages(self.stem(x))
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


def _arch(*, depths: Sequence[int]) -> Arch:
    """Patchwise attention over 3 x 3, then 7 x 7; from the second stage on kernel 3 and both weights learned."""
    att = Mixer(attention="patchwise", attn_kernel=3, combine="att")
    both = att.having(combine="learned", num_heads=4, attn_kernel=7, conv_kernel=3, conv_impl="full", conv_init="shift")
    return Arch(host="san", stages=tuple(((both if i else att),) * depth for i, depth in enumerate(depths)))


CFG: dict[str, Any] = {"first_conv": "stem.0", "classifier": "head.fc", "crop_pct": 0.875, "interpolation": "bilinear"}
"""Of timm's default_cfg."""

MODELS = {
    f"acmix_san{blocks}": NamedModel.of(
        f"SAN-{blocks} with ACmix after the first stage", partial(_arch, depths=depths), **CFG
    )
    for blocks, depths in ((10, (2, 1, 2, 4, 1)), (15, (3, 2, 3, 5, 2)), (19, (3, 3, 4, 6, 3)))
}
