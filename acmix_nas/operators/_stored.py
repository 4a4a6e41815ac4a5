"""Weights that are computed anew in every forward pass, as what they are now: parametrised, pruned, normalised."""

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


@torch.no_grad()
def stored(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode in which every computed weight is an ordinary parameter.

    What is computed by `torch.nn.utils.parametrize`, by `torch.nn.utils.prune`, or by the older `weight_norm` and
    `spectral_norm` is known; other hooks go with the copy.

    Args:
        module: Any module; it is not changed.
    """
    copied = copy.deepcopy(module, _results(module)).eval()
    for part in copied.modules():
        if parametrize.is_parametrized(part):
            for name in list(part.parametrizations):  # type: ignore[arg-type]  # a ModuleDict
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
        for hook in list(part._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(part, hook._tensor_name)  # type: ignore[no-untyped-call]
            elif isinstance(hook, WeightNorm):
                remove_weight_norm(part, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(part, hook.name)
    return copied


def _results(module: nn.Module) -> dict[int, torch.Tensor]:
    """Copies of what hooks have computed, which autograd's graph keeps `copy.deepcopy` from copying."""
    values = [value for part in module.modules() for value in vars(part).values() if isinstance(value, torch.Tensor)]
    return {id(value): value.detach().clone() for value in values if not value.is_leaf}
