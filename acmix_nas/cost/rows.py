"""A row of a profile, in plain values."""

from typing import Any

from acmix_nas.cost.compare import MARGINS, compare
from acmix_nas.cost.execution import Step
from acmix_nas.cost.memory import peak_cpu_mb, peak_cuda_mb
from acmix_nas.cost.together import Batch, Subject
from acmix_nas.operators.forms import plain_parts


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
        "model": subject.network.name,
        "impl": subject.network.impl,
        "form": None if subject.network.arch is None else how.form,
        "plain_parts": {} if how.form == "paper" else plain_parts(subject.model),
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


def peak_mb(subject: Subject, step: Step) -> float | None:
    """Peak memory of a run in 10^6 bytes; None where it cannot be measured."""
    if step.images.is_cuda:
        return peak_cuda_mb(subject.model, step)
    height, width = step.images.shape[-2:]
    return peak_cpu_mb(subject.network, batch_size=len(step.images), input_size=(height, width), how=step.how)
