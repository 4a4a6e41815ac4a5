"""A row of a profile, in plain values: what was counted and timed of a network, and its peak memory."""

from typing import Any

import torch
from torch import nn

from acmix_nas.cost.compare import MARGINS, compare
from acmix_nas.cost.count import breakdown
from acmix_nas.cost.counters import cross_check
from acmix_nas.cost.execution import Execution, Step
from acmix_nas.cost.memory import peak_cpu_mb, peak_cuda_mb
from acmix_nas.cost.network import Network
from acmix_nas.cost.together import Batch, Subject
from acmix_nas.models import build_model
from acmix_nas.operators.forms import plain_parts
from acmix_nas.parts import OPS, Part, total
from acmix_nas.sizes import Pair


def exact_parts(network: Network, size: Pair, how: Execution) -> tuple[Part, ...] | None:
    """The parts of a network for images of a size, without the head where it is run without; None if it is not ours."""
    if network.arch is None:
        return None
    if network.head is not None:
        with torch.device("meta"):
            return breakdown(network.build(size), size)
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


def count_row(subject: Subject, how: Execution) -> dict[str, Any]:
    """What was counted of one network that is not timed: the same keys as of `make_row`, None for times."""
    return {**_described(subject, how), **subject.counts, **dict.fromkeys(TIMES)}


def make_row(subject: Subject, batch: Batch, index: int, baseline: int) -> dict[str, Any]:
    """What was counted and timed of one network.

    Args:
        subject: The network.
        batch: What it was timed with.
        index: Its place there.
        baseline: The place of the one that it is compared with.
    """
    how = batch.steps[index].how
    timing, (first_s, graph_breaks) = batch.timings[index], batch.firsts[index]
    ratio = (
        None
        if index == baseline
        else compare(
            batch.timings[baseline].times_ms, timing.times_ms, margin=MARGINS[batch.steps[index].images.device.type]
        )
    )
    return {
        **_described(subject, how),
        "batch_size": batch.size,
        "requested_batch_size": batch.asked,
        **subject.counts,
        "latency_ms": timing.median_ms,
        "latency_iqr_ms": timing.iqr_ms,
        "latency_q1_ms": timing.q1_ms,
        "latency_q3_ms": timing.q3_ms,
        "latency_min_ms": timing.min_ms,
        "latency_p95_ms": timing.p95_ms,
        "repetitions": timing.repetitions,
        "stopped_by": timing.stopped_by,
        "throughput": batch.size / timing.median_ms * 1000,
        "ratio": ratio and ratio.ratio,
        "ratio_low": ratio and ratio.low,
        "ratio_high": ratio and ratio.high,
        "difference": ratio and ratio.difference,
        "compile_s": max(0.0, first_s - timing.median_ms / 1000) if how.compiled else None,
        "graph_breaks": graph_breaks if how.compiled else None,
    }


TIMES = (
    *("batch_size", "requested_batch_size"),
    *("latency_ms", "latency_iqr_ms", "latency_q1_ms", "latency_q3_ms", "latency_min_ms", "latency_p95_ms"),
    *("repetitions", "stopped_by", "throughput", "ratio", "ratio_low", "ratio_high", "difference"),
    *("compile_s", "graph_breaks", "peak_memory_mb"),
)
"""Keys of a row that counting leaves empty."""


def _described(subject: Subject, how: Execution) -> dict[str, Any]:
    return {
        "model": subject.network.whole,
        "impl": subject.network.impl,
        "form": None if subject.network.arch is None else how.form,
        "plain_parts": {} if how.form == "paper" else plain_parts(subject.model),
    }


def peak_mb(subject: Subject, step: Step) -> float | None:
    """Peak memory of a run in 10^6 bytes; None where it cannot be measured."""
    if step.images.is_cuda:
        return peak_cuda_mb(subject.model, step)
    height, width = step.images.shape[-2:]
    return peak_cpu_mb(subject.network, batch_size=len(step.images), input_size=(height, width), how=step.how)
