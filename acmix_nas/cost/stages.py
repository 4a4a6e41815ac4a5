"""The paper's cost table (Pan et al. 2022, arXiv 2111.14556): stage I against stage II, in symbols, numbers and time.

Formulas are sums of products of `SYMBOLS`; a comparison in brackets is 1 where it holds, else 0.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from acmix_nas import registry
from acmix_nas.arch import Arch, Mixer
from acmix_nas.cost.count import breakdown
from acmix_nas.cost.execution import Execution, prepare
from acmix_nas.cost.network import Network
from acmix_nas.cost.where import module_times, op_times
from acmix_nas.operators.conv import KERNEL_SIZE
from acmix_nas.parts import Part
from acmix_nas.sizes import Pair, Size

SYMBOLS = {
    "HW": "pixels of the map; for attention and its projections padded to whole windows, and with a class token",
    "hw": "the same at stride",
    "M": "pixels that keys and values come from: HW, or those of the map reduced by sr",
    "I": "channels of the input",
    "C": "channels of v and of the result",
    "R": "channels of q and k: C, but fewer in SAN",
    "N": "heads",
    "d": "channels of a head, R / N",
    "P": "maps that fc reads at each depth, (2 R + C) / d: 3 N where R = C",
    "G": "weight channels of SAN, C / 8",
    "k_a": "size of the attention window",
    "k_c": "kernel size of the convolution",
    "sr": "spatial reduction of keys and values",
    "f": "1 if fc has a bias (Swin), else 0",
    "b": "1 if the convolution path ends in a bias (PVT), else 0",
}
"""What the letters of the formulas mean."""

DENSE = ("k_c^2 I C", "k_c^2 I C hw")
"""A dense convolution is all stage I: k_c^2 projections. Their shifted sum has k_c^2 C hw additions alone."""
PROJECTIONS = ("(I + 1) (2 R + C)", "I (R HW + (R + C) M)")
"""ACmix's stage I: 3 C^2 HW where I = R = C and nothing is reduced."""
PROJECTIONS_ALONE = ("(I + 1) (2 R + C)", "I (R hw + (R + C) M)")
"""The same for self-attention alone, which projects q only where it is read."""
PATHS = {
    "shift": ("(P + f) k_c^2 + b C", "(2 R + C) k_c^2 HW"),
    "groupconv": ("(P + f) k_c^2 + b C", "(2 R + C) k_c^2 HW + k_c^4 d hw"),
    "learnable": ("(P + f) k_c^2 + k_c^4 d + b C", "(2 R + C) k_c^2 HW + k_c^4 d hw"),
    "full": ("(P + f) k_c^2 + k_c^4 C + b C", "(2 R + C) k_c^2 HW + k_c^4 C hw"),
}
"""ACmix's convolution path by `conv_impl`: fc, then the kernels."""

STEPS = {
    "convolution": (("convolution",), ()),
    "self-attention": (("projections",), ("attention",)),
    "ACmix": (("projections",), ("attention", "convolution")),
}
"""Operator -> ops of its stage I and of its stage II. A dense convolution is stage I alone, its sum included."""


class Step(NamedTuple):
    """Stage I or stage II of an operator, over some blocks.

    Attributes:
        params: Trainable numbers.
        macs: Multiply-adds of the named formulation for one image.
        params_formula: `params` of one block in `SYMBOLS`; empty for attention of a user's own that gives none.
        macs_formula: `macs` of one block, likewise.
    """

    params: int
    macs: int
    params_formula: str
    macs_formula: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """What one operator costs in a stage of a network.

    Attributes:
        stage: Number of the network's stage, from 0.
        operator: "convolution", dense with the kernel of ACmix's path (3 where a block has none), in every block;
            "self-attention" alone, in the blocks that attend; or "ACmix" as it is, in the blocks that convolve.
        blocks: How many blocks are summed.
        first: The paper's stage I: the projections.
        second: The paper's stage II: what is done with them.
    """

    stage: int
    operator: str
    blocks: int
    first: Step
    second: Step

    @property
    def ratio(self) -> float:
        """Multiply-adds of stage II for each of stage I: how far stage II is from light."""
        return self.second.macs / self.first.macs


def stage_costs(arch: Arch, input_size: Size = 224) -> tuple[StageCost, ...]:
    """Exact costs of the operators that could stand in each stage of a network, without norms and path weights.

    Args:
        arch: The network; its mixers give heads, windows, kernels and implementations.
        input_size: Extent of the square image in pixels, or (height, width).

    Returns:
        For each stage up to three rows: convolution, self-attention, ACmix; the last two where a block has them.
    """
    blocks = _blocks(arch, input_size)
    rows = []
    for stage in range(len(arch.stages)):
        here = [block for block in blocks if block.stage == stage]
        attending = [block for block in here if block.mixer.attends]
        convolving = [block for block in here if block.mixer.convolves]
        rows += _row("convolution", here, _convolution)
        rows += _row("self-attention", attending, _self_attention)
        rows += _row("ACmix", convolving, _acmix)
    return tuple(rows)


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
    arch = network.arch
    assert arch is not None
    kernels = {mixer.conv_kernel for mixer in arch.mixers if mixer.convolves}
    dense = arch.having(_dense) if kernels <= {KERNEL_SIZE} else None
    alone = arch.having(_alone) if any(mixer.attends for mixer in arch.mixers) else None
    size = (int(images.shape[-2]), int(images.shape[-1]))
    costs = stage_costs(arch, size)
    timed = {
        "convolution": _times(network, dense, size, images, how),
        "self-attention": _times(network, alone, size, images, how),
        "ACmix": _times(network, arch, size, images, how),
    }
    return [row for cost in costs for row in _rows(cost, timed[cost.operator])]


def _rows(cost: StageCost, times: Mapping[tuple[int | str | None, str], float] | None) -> list[dict[str, Any]]:
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
) -> dict[tuple[int | str | None, str], float] | None:
    """(stage, op) -> milliseconds of a network with this arch; None for None."""
    if arch is None:
        return None
    how = replace(how, features_only=False, form="train" if how.form == "merged" else how.form)
    model = prepare(replace(network, arch=arch).build(size), how)
    return op_times(breakdown(arch, size), module_times(model, images, how))


class _Block(NamedTuple):
    """A mixer in its place: what the dense 3x3 convolution, its attention alone, and itself cost there, by op."""

    stage: int
    mixer: Mixer
    dense: Part
    alone: Mapping[str, Part]
    whole: Mapping[str, Part]


def _blocks(arch: Arch, input_size: Size) -> list[_Block]:
    dense = breakdown(arch.having(_dense), input_size)
    alone = breakdown(arch.having(_alone), input_size)
    whole = breakdown(arch, input_size)
    stages = [stage for stage, depth in enumerate(arch.depths) for _ in range(depth)]
    sites = [part for part in dense if part.op == "convolution"]
    return [
        _Block(stage, mixer, site, _inside(site.module, alone), _inside(site.module, whole))
        for stage, mixer, site in zip(stages, arch.mixers, sites, strict=True)
    ]


def _dense(mixer: Mixer) -> Mixer:
    return Mixer(operator="conv")


def _alone(mixer: Mixer) -> Mixer:
    return mixer.having(combine="att") if mixer.attends else mixer


def _inside(module: str, parts: Iterable[Part]) -> dict[str, Part]:
    return {part.op: part for part in parts if part.module.startswith(f"{module}.")}


def _row(operator: str, blocks: Sequence[_Block], cost: Callable[[_Block], tuple[Step, Step]]) -> list[StageCost]:
    """The row of one operator; none if there is no block."""
    if not blocks:
        return []
    first, second = (_sum(steps) for steps in zip(*map(cost, blocks), strict=True))
    return [StageCost(stage=blocks[0].stage, operator=operator, blocks=len(blocks), first=first, second=second)]


def _sum(steps: Sequence[Step]) -> Step:
    """Sums of the numbers; the formulas of all kinds of blocks."""
    return Step(
        sum(step.params for step in steps),
        sum(step.macs for step in steps),
        " or ".join(dict.fromkeys(step.params_formula for step in steps)),
        " or ".join(dict.fromkeys(step.macs_formula for step in steps)),
    )


def _convolution(block: _Block) -> tuple[Step, Step]:
    scale = (block.mixer.conv_kernel or KERNEL_SIZE) ** 2
    params, macs = (number * scale // KERNEL_SIZE**2 for number in (block.dense.params, block.dense.macs))
    return Step(params, macs, *DENSE), Step(0, 0, "0", "0")


def _self_attention(block: _Block) -> tuple[Step, Step]:
    projections, attention = block.alone["projections"], block.alone["attention"]
    first = Step(projections.params, projections.macs, *PROJECTIONS_ALONE)
    return first, Step(attention.params, attention.macs, *_attention_formulas(block.mixer))


def _acmix(block: _Block) -> tuple[Step, Step]:
    projections, convolution = block.whole["projections"], block.whole["convolution"]
    first = Step(projections.params, projections.macs, *PROJECTIONS)
    formulas = PATHS[block.mixer.conv_impl or ""]
    if not block.mixer.attends:
        return first, Step(convolution.params, convolution.macs, *formulas)
    attention = block.whole["attention"]
    pairs = zip(_attention_formulas(block.mixer), formulas, strict=True)
    both = (" + ".join(pair) if all(pair) else "" for pair in pairs)
    return first, Step(attention.params + convolution.params, attention.macs + convolution.macs, *both)


def _attention_formulas(mixer: Mixer) -> tuple[str, str]:
    mode = registry.load("operators.attention", mixer.attention or "")
    params, macs = getattr(mode, "FORMULAS", ("", ""))
    return params, macs
