"""Profiles networks: one row for each network, implementation and batch size; rows of a batch size run interleaved."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import torch
from torch import nn

from acmix_nas.arch import Arch
from acmix_nas.cost.clock import Run, capture, clock_for
from acmix_nas.cost.compare import LEVEL, MARGIN, compare
from acmix_nas.cost.counts import counts, exact_parts
from acmix_nas.cost.environment import environment
from acmix_nas.cost.execution import Execution, Step, conditions, first_run, make_images, make_step, prepare
from acmix_nas.cost.fit import largest_fitting, ran_out, within_memory
from acmix_nas.cost.machine import gpu_clocks, gpu_state
from acmix_nas.cost.memory import peak_cpu_mb, peak_cuda_mb
from acmix_nas.cost.network import Network, Size
from acmix_nas.cost.steps import Progress, Steps
from acmix_nas.cost.timing import Timing, measure
from acmix_nas.cost.where import foreign_parts, module_times, shares
from acmix_nas.errors import UsageError

ROUNDS, COMPARED_ROUNDS = 10, 30
"""Repetitions before the spread is believed; the more for networks that are compared, whose ratio needs them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long is measured.

    Attributes:
        spread: Repeating ends when the interquartile range over the median is below it for every row.
        limit_s: Or after about so many seconds for each row.
        memory: Whether peak memory is measured, on the CPU in a process of its own for each row.
        counters: Whether the public counters are asked.
    """

    spread: float = 0.05
    limit_s: float = 10.0
    memory: bool = True
    counters: bool = True


def profile_rows(
    networks: Sequence[Network],
    *,
    how: Execution,
    batch_sizes: Sequence[int] = (1,),
    input_size: Size | int = 224,
    baseline: int = 0,
    by: str | None = None,
    effort: Effort | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Counts and times networks with random weights.

    Args:
        networks: The networks.
        how: How they are run.
        batch_sizes: Images in a batch, one row of each network for each. A batch that does not fit into memory is
            halved, for all networks alike.
        input_size: (height, width) of the image in pixels, or the extent of a square.
        baseline: Place in `networks` of the one that the others are compared with.
        by: Of `acmix_nas.cost.where.BY`: also says where parameters, multiply-adds and time of the first batch size go.
        effort: How long is measured.
        progress: Told of every step.

    Returns:
        {"device", "env", "rows"}, and "where" with `by`: plain values; docs/profile.md tells the keys.

    Raises:
        UsageError: Networks that become the same one are to be compared merged; a network does not run as asked; not
            even one image fits into memory.
    """
    effort = effort or Effort()
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    _refuse_equals(networks, how)
    _refuse_foreign(networks, by)
    steps = Steps(progress, len(networks), len(batch_sizes), effort.limit_s, memory=effort.memory)
    idle = gpu_state(torch.device(how.device)) if how.device != "cpu" else None
    env = {**environment(how.device), **how.told(), "form": how.form, **_said(effort, size)}
    subjects = []
    for network in networks:
        steps.begin_count(_label(network))
        subjects.append(_subject(network, size, how, counters=effort.counters))
    rows, where = [], []
    for batch_size in batch_sizes:
        steps.begin_timing(batch_size)
        batch = _time(subjects, batch_size, size, how, effort, steps.tick)
        if idle is not None:
            env |= gpu_clocks(idle, gpu_state(torch.device(how.device)))
        for index, subject in enumerate(subjects):
            steps.begin_memory(f"{_label(subject.network)}, batches of {batch.size}")
            peak_mb = _peak_mb(subject, batch.steps[index]) if effort.memory else None
            rows.append({**_row(subject, how, batch, index, baseline), "peak_memory_mb": peak_mb})
            if by is not None and batch_size == batch_sizes[0]:
                where.append(_where(subject, batch.steps[index], by))
    return {"device": how.device, "env": env, "rows": rows, **({"where": where} if by else {})}


def throughputs(
    archs: Mapping[str, Arch], *, input_size: int, batch_size: int, device: torch.device | str, limit_s: float = 2.0
) -> dict[str, float]:
    """Images a second of full networks, timed interleaved in float32, channels_last, inference mode, plain form.

    Args:
        archs: The networks, by name.
        input_size: Height and width of the image in pixels.
        batch_size: Images in a batch; halved for all until it fits.
        device: Where they are timed.
        limit_s: Seconds of timing for each network, about.

    Returns:
        Name -> images a second at the median latency.
    """
    how, size = Execution(device=str(device), form="paper"), (input_size, input_size)
    networks = [Network(name=name, arch=arch) for name, arch in archs.items()]
    subjects = [_Subject(network, prepare(network.build(size), how), {}) for network in networks]
    batch = _time(subjects, batch_size, size, how, Effort(limit_s=limit_s), lambda share: None)
    return {name: batch.size / timing.median_ms * 1000 for name, timing in zip(archs, batch.timings, strict=True)}


@dataclass(frozen=True, slots=True)
class _Subject:
    """A network that was built and counted."""

    network: Network
    model: nn.Module
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Networks timed together, each field in their order."""

    asked: int
    size: int
    steps: list[Step]
    firsts: list[tuple[float, int]]
    timings: list[Timing]


def _refuse_equals(networks: Sequence[Network], how: Execution) -> None:
    if how.form != "merged":
        return
    for one, other in combinations(networks, 2):
        if one != other and one.merges_like(other):
            raise UsageError(
                f"--form merged folds shift, groupconv, learnable and full alike into one convolution, so {_label(one)} "
                f"and {_label(other)} are the same network then. Compare them with --form paper."
            )


def _refuse_foreign(networks: Sequence[Network], by: str | None) -> None:
    for network in networks if by in ("stage", "op") else ():
        if network.arch is None:
            raise UsageError(
                f"--by {by} sums what stages and paths of our networks take; {network.name} is timm's own. "
                "Take --by module."
            )


def _where(subject: _Subject, step: Step, by: str) -> dict[str, Any]:
    height, width = step.images.shape[-2:]
    core = getattr(subject.model, "model", subject.model) if step.how.features_only else subject.model
    parts = exact_parts(subject.network, (height, width), step.how) or foreign_parts(core, (height, width))
    lines = shares(by, parts, module_times(subject.model, step.images, step.how, core=core))
    return {
        "model": subject.network.name,
        "impl": subject.network.impl,
        "batch_size": len(step.images),
        "by": by,
        "rows": [asdict(line) for line in lines],
    }


def _said(effort: Effort, size: Size) -> dict[str, Any]:
    return {
        "input_size": size[0] if size[0] == size[1] else list(size),
        "target_spread": effort.spread,
        "time_limit_s": effort.limit_s,
        "interval": LEVEL,
        "margin": MARGIN,
    }


def _subject(network: Network, size: Size, how: Execution, *, counters: bool) -> _Subject:
    model = network.build(size, features_only=how.features_only)
    counted = counts(network, model, size, how, counters=counters)
    return _Subject(network, prepare(model, how), counted)


def _time(
    subjects: Sequence[_Subject],
    batch_size: int,
    size: Size,
    how: Execution,
    effort: Effort,
    tick: Callable[[float], None],
) -> _Batch:
    def attempt(batch: int) -> tuple[list[Step], list[tuple[float, int]], list[Run]]:
        with within_memory(how.device):
            images = make_images(batch, size, how)
            steps = [make_step(subject.model, images, how) for subject in subjects]
            firsts = [_first(step, subject, size) for step, subject in zip(steps, subjects, strict=True)]
            return steps, firsts, [capture(step, how.device) if how.cuda_graph else step for step in steps]

    what = f"{', '.join(_label(subject.network) for subject in subjects)} at {size[0]} x {size[1]} pixels"
    with conditions([subject.model for subject in subjects], how):
        ran, (steps, firsts, runs) = largest_fitting(batch_size, attempt, what=what)
        timings = measure(
            {str(index): run for index, run in enumerate(runs)},
            clock=clock_for(how.device, flush=how.flush_l2),
            spread=effort.spread,
            limit_s=effort.limit_s,
            min_repetitions=ROUNDS if len(runs) == 1 else COMPARED_ROUNDS,
            tick=tick,
        )
    return _Batch(asked=batch_size, size=ran, steps=steps, firsts=firsts, timings=list(timings.values()))


def _first(step: Step, subject: _Subject, size: Size) -> tuple[float, int]:
    try:
        return first_run(step)
    except Exception as error:  # networks, dtypes and the compiler fail in ways of their own
        if ran_out(error):
            raise
        told = ", ".join(f"{key} {value}" for key, value in step.how.told().items() if value)
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise UsageError(
            f"{_label(subject.network)} does not run on images of {size[0]} x {size[1]} pixels on {step.how.device} with "
            f"{told}: {reason}. Leave out what it does not take."
        ) from error


def _peak_mb(subject: _Subject, step: Step) -> float | None:
    if step.images.is_cuda:
        return peak_cuda_mb(subject.model, step)
    height, width = step.images.shape[-2:]
    return peak_cpu_mb(subject.network, batch_size=len(step.images), input_size=(height, width), how=step.how)


def _row(subject: _Subject, how: Execution, batch: _Batch, index: int, baseline: int) -> dict[str, Any]:
    timing, (first_s, graph_breaks) = batch.timings[index], batch.firsts[index]
    ratio = None if index == baseline else compare(batch.timings[baseline].times_ms, timing.times_ms)
    return {
        "model": subject.network.name,
        "impl": subject.network.impl,
        "form": None if subject.network.arch is None else how.form,
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


def _label(network: Network) -> str:
    return f"{network.name} ({network.impl})" if network.impl and network.impl != network.name else network.name
