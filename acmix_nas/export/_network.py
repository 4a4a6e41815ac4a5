"""What is exported: the form of the network, its inputs and outputs, the images it is traced and checked with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from acmix_nas import registry
from acmix_nas.arch import Arch
from acmix_nas.errors import AcmixError, UsageError
from acmix_nas.hosts import options_of
from acmix_nas.models import merge
from acmix_nas.operators.merging import stored
from acmix_nas.sizes import pair

USUAL_SIZE, DENSE_SIZE = 224, 512
"""Height and width in pixels of the images that a classifier and a dense network are traced with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a network is exported.

    Attributes:
        form: "train", "merged" or "paper".
        features_only: Whether the outputs are the maps of the stages.
        input_size: (height, width) in pixels of the images it is traced with.
        dynamic: Whether other sizes are taken.
        fixed_by: Why not, where they were asked for: the parts that allow only one size; empty else.
        least: The least extent of an image that a file for any size takes, in pixels.
        described: What a file says of itself, by name: classes, mean and std of the images and the like.
    """

    form: str
    features_only: bool
    input_size: tuple[int, int]
    dynamic: bool
    fixed_by: tuple[str, ...]
    least: int
    described: Mapping[str, Any] = field(default_factory=dict)

    def images(self) -> list[tuple[int, int, int]]:
        """(batch, height, width) that an export is checked with: two batch sizes, and two sizes if it takes any."""
        height, width = self.input_size
        other = [(2, max(self.least, 3 * height // 4 + 1), width + 37)] if self.dynamic else []
        return [(1, height, width), (3, height, width), *other]


def settings_for(
    model: nn.Module,
    *,
    form: str,
    features_only: bool,
    input_size: int | tuple[int, int] | None,
    dynamic: bool,
    described: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings for a model; what is not given is its own.

    Raises:
        AcmixError: It is no model of ours.
        UsageError: The one size that it is exported for is too small.
    """
    arch = arch_of(model)
    head = head_of(model)
    if head is not None and features_only:
        raise UsageError("--features-only is of a network without a dense head; leave --task out.")
    least = max(info["reduction"] for info in stages(model)) + 1
    built_for = options_of(model).img_size if head is None else None
    size = pair(input_size or built_for or (USUAL_SIZE if head is None else DENSE_SIZE))
    fixed_by = _fixed_by(arch, head) if dynamic else ()
    if dynamic and not fixed_by:
        size = (max(size[0], least), max(size[1], least))
    elif min(size) < least:
        raise UsageError(
            f"images have at least {least} pixels a side, so that no map is a single pixel; {size[0]} x {size[1]} is "
            "less. Take a larger input size."
        )
    return Settings(
        form=form,
        features_only=features_only,
        input_size=size,
        dynamic=dynamic and not fixed_by,
        fixed_by=fixed_by,
        least=least,
        described=described or {},
    )


def arch_of(model: nn.Module) -> Arch:
    """The arch of a model.

    Raises:
        AcmixError: It has none.
    """
    arch = getattr(model, "arch", None)
    if not isinstance(arch, Arch):
        raise AcmixError(
            f"{type(model).__name__} is not a complete network of ours; export what build_model returns, or "
            "timm.create_model without features_only."
        )
    return arch


def head_of(model: nn.Module) -> str | None:
    """The name of a model's dense head; None of a classifier."""
    name: str | None = getattr(model, "head_name", None)
    return name


def stages(model: nn.Module) -> list[dict[str, Any]]:
    """The feature_info of timm: channels ("num_chs") and reduction of each map of `features_only`."""
    info: Any = model.feature_info
    return list(info)


def prepared(model: nn.Module, settings: Settings) -> nn.Module:
    """A copy in evaluation mode that computes the outputs in the form of the settings."""
    ours = merge(model) if settings.form == "merged" else stored(model).requires_grad_(False)
    for tensor in (*ours.parameters(), *ours.buffers()):
        # torch.export.save warns of views: of what is a part of another tensor's memory or lies in another order.
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    return Features(ours) if settings.features_only else ours


class Features(nn.Module):
    """The maps of all stages of a network, by name: stage0 is index 0 of timm's `out_indices`.

    Args:
        model: The network; it loses what comes after its last stage.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.indices = list(range(len(stages(model))))
        prune: Any = model.prune_intermediate_layers
        prune(self.indices, prune_norm=True, prune_head=True)
        self.model = model

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, in_chans, H, W) -> maps (B, C, h, w)."""
        read: Any = self.model.forward_intermediates
        maps = read(images, indices=self.indices, intermediates_only=True)
        return dict(zip(stage_names(len(self.indices)), maps, strict=True))


def output_names(model: nn.Module, settings: Settings) -> list[str]:
    """Names of the outputs."""
    return stage_names(len(stages(model))) if settings.features_only else ["logits"]


def stage_names(count: int) -> list[str]:
    """Names of the maps of the stages."""
    return [f"stage{index}" for index in range(count)]


def _fixed_by(arch: Arch, head: str | None = None) -> tuple[str, ...]:
    """The parts of a network that are not ours, and so not known to be traced with sizes as symbols."""
    named = [("hosts", arch.host, f"the host {arch.host}")]
    named += [("heads", head, f"the head {head}")] if head is not None else []
    for mixer in arch.mixers:
        named.append(("operators", mixer.operator, f"the operator {mixer.operator}"))
        if mixer.attention is not None:
            named.append(("operators.attention", mixer.attention, f"{mixer.attention} attention"))
    return tuple(sorted({text for folder, name, text in named if name not in registry.names(folder)}))
