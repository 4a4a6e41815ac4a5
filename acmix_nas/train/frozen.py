"""What of a network is not trained: first stages, batch norms; and what is computed twice to need less memory."""

from collections.abc import Iterator
from typing import Any

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from acmix_nas.train.ranks import world
from acmix_nas.train.recipe import Budget, RecipeError


def prepared(model: nn.Module, budget: Budget) -> nn.Module:
    """A network as a recipe trains it; changed in place, but for norms of several processes.

    Stages are those that timm's `group_matcher` names: the stem is the first. A frozen batch norm keeps its statistics,
    scale and shift, also in training.

    Args:
        model: The network, with its head.
        budget: The recipe.

    Raises:
        RecipeError: The network does not name its stages, or does not compute its blocks twice.
    """
    backbone = next((part for part in model.modules() if hasattr(part, "group_matcher")), None)
    if backbone is None:
        if budget.frozen_stages or budget.grad_checkpointing or budget.norms != "trained":
            raise RecipeError("frozen_stages, norms and grad_checkpointing need a network with timm's group_matcher.")
        return model
    if budget.grad_checkpointing:
        switch: Any = backbone.set_grad_checkpointing
        switch(True)
    for name in _frozen(backbone, budget.frozen_stages):
        backbone.get_parameter(name).requires_grad_(False)
    if budget.norms == "frozen":
        for part in backbone.modules():
            if isinstance(part, BatchNorm):
                _freeze_norm(part)
    if budget.norms == "synchronised" and world() > 1:
        whole: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return whole
    return model


def _frozen(backbone: nn.Module, stages: int) -> Iterator[str]:
    """Names of the parameters of the first groups: stem, then stages."""
    if not stages:
        return
    matcher: Any = backbone.group_matcher
    groups = group_parameters(backbone, matcher(coarse=True), reverse=True)
    most = max(groups.values())
    if stages > 1 + most:
        raise RecipeError(f"frozen_stages is {stages}; the network has its stem and {most} groups after it.")
    yield from (name for name, place in groups.items() if place < stages)


def _freeze_norm(norm: BatchNorm) -> None:
    for parameter in norm.parameters():
        parameter.requires_grad_(False)
    norm.eval()
    norm.train = lambda mode=True: norm  # type: ignore[method-assign]
