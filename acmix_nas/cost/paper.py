"""The paper's cost table beside what a device needs: stage I against stage II of three operators."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from acmix_nas.arch import Arch, Mixer
from acmix_nas.cost.count import breakdown
from acmix_nas.cost.execution import Execution, prepare
from acmix_nas.cost.network import Network
from acmix_nas.cost.stages import StageCost, stage_costs
from acmix_nas.cost.where import module_times, op_times
from acmix_nas.operators.conv import KERNEL_SIZE
from acmix_nas.sizes import Pair

STEPS = {
    "convolution": (("convolution",), ()),
    "self-attention": (("projections",), ("attention",)),
    "ACmix": (("projections",), ("attention", "convolution")),
}
"""Operator -> ops of its stage I and of its stage II. A dense convolution is stage I alone, its sum included."""


def paper_rows(network: Network, images: torch.Tensor, how: Execution) -> list[dict[str, Any]]:
    """Formula, count and time of stage I and stage II of each operator that could stand in each stage.

    The operators are timed in networks of their own, one with a dense convolution, one with self-attention and one with
    ACmix in its blocks, by stamps at their modules (`acmix_nas.cost.where`).

    Args:
        network: A network of ours.
        images: A batch as it is run on.
        how: How it is run.

    Returns:
        Plain values, two rows for each stage and operator: stage, operator, blocks, step ("I" or "II"), params, macs,
        params_formula, macs_formula, time_ms (None if it is unknown), macs_ratio and time_ratio (of stage II to
        stage I, in the rows of stage II).
    """
    assert network.arch is not None
    size = (int(images.shape[-2]), int(images.shape[-1]))
    costs = stage_costs(network.arch, size)
    timed = {
        "convolution": _times(network, _with_convolution(network.arch), size, images, how),
        "self-attention": _times(network, _with_attention(network.arch), size, images, how),
        "ACmix": _times(network, network.arch, size, images, how),
    }
    return [row for cost in costs for row in _rows(cost, timed[cost.operator])]


def _rows(cost: StageCost, times: Mapping[tuple[int | None, str], float] | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, step, ops in zip(("I", "II"), (cost.first, cost.second), STEPS[cost.operator], strict=True):
        time_ms = None if times is None or not ops else sum(times.get((cost.stage, op), 0.0) for op in ops)
        rows.append(
            {
                "stage": cost.stage,
                "operator": cost.operator,
                "blocks": cost.blocks,
                "step": name,
                **step._asdict(),
                "time_ms": time_ms,
                "macs_ratio": None,
                "time_ratio": None,
            }
        )
    first, second = rows
    second["macs_ratio"] = cost.ratio
    if first["time_ms"] and second["time_ms"] is not None:
        second["time_ratio"] = second["time_ms"] / first["time_ms"]
    return rows


def _times(
    network: Network, arch: Arch | None, size: Pair, images: torch.Tensor, how: Execution
) -> dict[tuple[int | None, str], float] | None:
    """(stage, op) -> milliseconds of a network with this arch; None for None."""
    if arch is None:
        return None
    how = replace(how, features_only=False, form="train" if how.form == "merged" else how.form)
    model = prepare(replace(network, arch=arch).build(size), how)
    return op_times(breakdown(arch, size), module_times(model, images, how))


def _with_convolution(arch: Arch) -> Arch | None:
    """The arch with a dense convolution in every block; None where operator `conv` has another kernel."""
    kernels = {mixer.conv_kernel for mixer in arch.mixers if mixer.convolves and mixer.operator == "acmix"}
    return _with(arch, Mixer(operator="conv")) if kernels <= {KERNEL_SIZE} else None


def _with_attention(arch: Arch) -> Arch | None:
    """The arch with self-attention alone in every block that attends; None where none does."""
    if not any(mixer.attends for mixer in arch.mixers):
        return None
    stages = [[mixer.having(combine="att") if mixer.attends else mixer for mixer in stage] for stage in arch.stages]
    return Arch.canonical(host=arch.host, stages=stages, conv_on=arch.conv_on)


def _with(arch: Arch, mixer: Mixer) -> Arch:
    return Arch.canonical(host=arch.host, stages=[[mixer] * depth for depth in arch.depths], conv_on=arch.conv_on)
