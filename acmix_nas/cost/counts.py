"""The counted part of a row of a profile: parameters, exact multiply-adds, and what public counters say."""

from collections.abc import Callable
from typing import Any

from torch import nn

from acmix_nas.cost.count import count
from acmix_nas.cost.counters import macs_fvcore, macs_torch
from acmix_nas.cost.execution import Execution
from acmix_nas.cost.network import Network, Size
from acmix_nas.models import build_model


def counts(network: Network, model: nn.Module, size: Size, how: Execution, *, counters: bool) -> dict[str, Any]:
    """Counts a network for one image.

    Args:
        network: The network.
        model: It, built, on the CPU.
        size: (height, width) of the image in pixels.
        how: How it is run; features without a head are counted without it.
        counters: Whether the public counters are asked.

    Returns:
        params (of the network as it is trained), macs, macs_deploy (None for networks that are not ours), macs_fvcore
        and macs_torch (None where the counter fails).
    """
    exact = None
    if network.arch is not None:
        counted = build_model(network.arch, num_classes=0, img_size=size) if how.features_only else network.arch
        exact = count(counted, size)
    return {
        "params": sum(weight.numel() for weight in model.parameters()),
        "macs": exact and exact.macs,
        "macs_deploy": exact and exact.macs_deploy,
        "macs_fvcore": _or_none(macs_fvcore, model, size) if counters else None,
        "macs_torch": _or_none(macs_torch, model, size) if counters else None,
    }


def _or_none(counter: Callable[..., int], model: nn.Module, size: Size) -> int | None:
    try:
        return counter(model, size)
    except Exception:  # tracers fail in ways of their own on networks they do not know; the count is a cross-check
        return None
