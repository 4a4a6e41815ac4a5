"""The counted part of a row of a profile: parameters, exact multiply-adds, and what public counters say."""

from typing import Any

from torch import nn

from acmix_nas.cost.count import breakdown
from acmix_nas.cost.counters import cross_check
from acmix_nas.cost.execution import Execution
from acmix_nas.cost.network import Network
from acmix_nas.models import build_model
from acmix_nas.parts import OPS, Part, total
from acmix_nas.sizes import Pair


def exact_parts(network: Network, size: Pair, how: Execution) -> tuple[Part, ...] | None:
    """The parts of a network for images of a size, without the head where it is run without; None if it is not ours."""
    if network.arch is None:
        return None
    if not how.features_only:
        return breakdown(network.arch, size)
    return breakdown(build_model(network.arch, num_classes=0, img_size=size), size)


def counts(network: Network, model: nn.Module, size: Pair, how: Execution, *, counters: bool) -> dict[str, Any]:
    """Counts a network for one image.

    Args:
        network: The network.
        model: It, built, on the CPU.
        size: (height, width) of the image in pixels.
        how: How it is run.
        counters: Whether the public counters are asked.

    Returns:
        Plain values, explained in docs/profile.md: params, macs, macs_deploy, macs_fvcore, macs_torch, macs_unseen,
        agree, agree_reason, activations, params_by_op and macs_by_op. None for what is not known.
    """
    parts = exact_parts(network, size, how)
    exact = None if parts is None else total(parts)
    crossed = cross_check(model, size) if counters else None
    return {
        "params": sum(weight.numel() for weight in model.parameters()),
        "macs": exact and exact.macs,
        "macs_deploy": exact and exact.macs_deploy,
        "macs_fvcore": crossed and crossed.macs_fvcore,
        "macs_torch": crossed and crossed.macs_torch,
        "macs_unseen": exact and exact.unseen_macs,
        "agree": crossed and crossed.agree,
        "agree_reason": crossed and crossed.reason,
        "activations": exact and exact.activations,
        "params_by_op": parts and {op: sum(part.params for part in parts if part.op == op) for op in OPS},
        "macs_by_op": parts and {op: sum(part.macs for part in parts if part.op == op) for op in OPS},
    }
