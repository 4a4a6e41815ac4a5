"""Profiles networks: one row for each network, implementation and batch size; rows of a batch size run interleaved."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import torch

from acmix_nas.arch import Arch
from acmix_nas.cost.ceiling import measure_ceiling
from acmix_nas.cost.clock import clock_for
from acmix_nas.cost.compare import LEVEL, MARGINS
from acmix_nas.cost.environment import environment
from acmix_nas.cost.execution import Execution, Step, prepare
from acmix_nas.cost.network import DenseHead, Network
from acmix_nas.cost.rows import count_row, counts, exact_parts, make_row, peak_mb
from acmix_nas.cost.stages import paper_rows
from acmix_nas.cost.together import Effort, Subject, time_together
from acmix_nas.cost.where import foreign_parts, module_times, shares
from acmix_nas.errors import UsageError
from acmix_nas.machine import gpu_clocks, gpu_state
from acmix_nas.sizes import Pair, Size, pair

__all__ = ["Effort", "profile_rows", "throughputs"]

Progress = Callable[[str, float, float], None]
"""Called with (what is done now, steps done, steps in all), in expected seconds."""

COUNT_S, MEMORY_S = 4.0, 6.0
"""What building and counting a network, and a process that measures its memory, are expected to take."""
WARM_UP = 1 / 3
"""Of the time limit, before the rounds begin."""


def profile_rows(
    networks: Sequence[Network],
    *,
    how: Execution,
    batch_sizes: Sequence[int] = (1,),
    input_size: Size = 224,
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
        {"device", "env", "rows"}, and "where" with `by`: plain values; docs/profile.md explains the keys.

    Raises:
        UsageError: Networks that become the same one are to be compared merged; a network does not run as asked; not
            even one image fits into memory.
        TimingError: A network seems faster than the device can be.
        AcmixError: There is no such head, or a network has not the maps that it reads.
    """
    effort = effort or Effort()
    size = pair(input_size)
    _refuse_equals(networks, how)
    _refuse_foreign(networks, by)
    steps = _Steps(progress, len(networks), len(batch_sizes) * effort.time, effort.limit_s, memory=effort.memory)
    if not effort.time:
        return _counted(networks, how, size, effort, steps)
    idle = gpu_state(torch.device(how.device)) if how.device != "cpu" else None
    ceiling = measure_ceiling(how.device, getattr(torch, how.dtype), clock_for(how.device))
    env = {**environment(how.device), **how.facts(), "form": how.form, **_said(effort, size, how.device)}
    env |= ceiling.facts()
    subjects = []
    for network in networks:
        steps.begin_count(network.label)
        subjects.append(_subject(network, size, how, counters=effort.counters))
    rows, where = [], []
    for batch_size in batch_sizes:
        steps.begin_timing(batch_size)
        batch = time_together(subjects, batch_size, size, how, effort, steps.tick)
        if idle is not None:
            env |= gpu_clocks(idle, gpu_state(torch.device(how.device)))
        for index, subject in enumerate(subjects):
            steps.begin_memory(f"{subject.network.label}, batches of {batch.size}")
            row = make_row(subject, batch, index, baseline)
            ceiling.check(row, train=how.train)
            row["peak_memory_mb"] = peak_mb(subject, batch.steps[index]) if effort.memory else None
            rows.append(row)
            if by is not None and batch_size == batch_sizes[0]:
                where.append(_where(subject, batch.steps[index], by))
    return {"device": how.device, "env": env, "rows": rows, **({"where": where} if by else {})}


def _counted(
    networks: Sequence[Network], how: Execution, size: Pair, effort: Effort, steps: "_Steps"
) -> dict[str, Any]:
    """The same without times."""
    rows = []
    for network in networks:
        steps.begin_count(network.label)
        rows.append(count_row(_subject(network, size, how, counters=effort.counters), how))
    env = {**environment(how.device), **how.facts(), "form": how.form, **_said(effort, size, how.device)}
    return {"device": how.device, "env": env, "rows": rows}


def throughputs(
    archs: Mapping[str, Arch],
    *,
    input_size: Size,
    batch_size: int,
    device: torch.device | str,
    head: DenseHead | None = None,
    limit_s: float = 2.0,
) -> tuple[int, dict[str, float]]:
    """Images a second of full networks, timed interleaved in float32, channels_last, inference mode, plain form.

    Args:
        archs: The networks, by name.
        input_size: Height and width of the image in pixels.
        batch_size: Images in a batch; halved for all until it fits.
        device: Where they are timed.
        head: The dense head on their maps; None for their own classifier.
        limit_s: Seconds of timing for each network, about.

    Returns:
        Images in the batch that ran, and name -> images a second at the median latency.
    """
    how, size = Execution(device=str(device), form="paper"), pair(input_size)
    networks = [Network(name=name, arch=arch, head=head) for name, arch in archs.items()]
    subjects = [Subject(network, prepare(network.build(size), how), {}) for network in networks]
    batch = time_together(subjects, batch_size, size, how, Effort(limit_s=limit_s), lambda share: None)
    rates = {name: batch.size / timing.median_ms * 1000 for name, timing in zip(archs, batch.timings, strict=True)}
    return batch.size, rates


def _refuse_equals(networks: Sequence[Network], how: Execution) -> None:
    if how.form != "merged":
        return
    for one, other in combinations(networks, 2):
        if one != other and one.merges_like(other):
            raise UsageError(
                f"--form merged folds shift, groupconv, learnable and full alike into one convolution, so {one.label} "
                f"and {other.label} are the same network then. Compare them with --form paper."
            )


def _refuse_foreign(networks: Sequence[Network], by: str | None) -> None:
    for network in networks if by not in (None, "module") else ():
        if network.arch is None:
            raise UsageError(
                f"--by {by} sums what stages and paths of our networks take; {network.name} is timm's own. "
                "Take --by module."
            )


def _where(subject: Subject, step: Step, by: str) -> dict[str, Any]:
    height, width = step.images.shape[-2:]
    if by == "paper":
        rows = paper_rows(subject.network, step.images, step.how)
    else:
        core = getattr(subject.model, "model", subject.model) if step.how.features_only else subject.model
        parts = exact_parts(subject.network, (height, width), step.how) or foreign_parts(core, (height, width))
        times = module_times(subject.model, step.images, step.how, core=core)
        rows = [asdict(line) for line in shares(by, parts, times)]
    return {
        "model": subject.network.whole,
        "impl": subject.network.impl,
        "batch_size": len(step.images),
        "by": by,
        "rows": rows,
    }


def _said(effort: Effort, size: Pair, device: str) -> dict[str, Any]:
    return {
        "input_size": size[0] if size[0] == size[1] else list(size),  # as JSON gives it back
        "target_spread": effort.spread,
        "time_limit_s": effort.limit_s,
        "interval": LEVEL,
        "margin": MARGINS[torch.device(device).type],
        "timed": effort.time,
    }


def _subject(network: Network, size: Pair, how: Execution, *, counters: bool) -> Subject:
    model = network.build(size, features_only=how.features_only)
    counted = counts(network, model, size, how, counters=counters)
    return Subject(network, prepare(model, how), counted)


class _Steps:
    """Tells how far a profile is.

    Args:
        progress: Whom to tell; None for nobody.
        networks: Number of networks.
        batches: Number of batch sizes.
        limit_s: Seconds of timing for each row, about.
        memory: Whether memory is measured.
    """

    def __init__(self, progress: Progress | None, networks: int, batches: int, limit_s: float, *, memory: bool) -> None:
        self._progress = progress
        self._timing_s = networks * limit_s * (1 + WARM_UP)
        self._limit_s = networks * limit_s
        self._memory_s = MEMORY_S if memory else 0.0
        self._total = networks * COUNT_S + batches * (self._timing_s + networks * self._memory_s)
        self._text, self._done, self._next = "", 0.0, 0.0

    def begin_count(self, label: str) -> None:
        """A network is built and counted now."""
        self._begin(f"counting {label}", COUNT_S)

    def begin_timing(self, batch_size: int) -> None:
        """Batches of a size are timed now."""
        self._begin(f"timing batches of {batch_size}", self._timing_s)

    def begin_memory(self, label: str) -> None:
        """The memory of a row is measured now."""
        if self._memory_s:
            self._begin(f"memory of {label}", self._memory_s)

    def tick(self, share: float) -> None:
        """So much of the timing's limit is spent."""
        self._tell(self._next - self._limit_s * (1 - share))

    def _begin(self, text: str, seconds: float) -> None:
        self._text, self._done = text, self._next
        self._next += seconds
        self._tell(self._done)

    def _tell(self, done: float) -> None:
        if self._progress is not None:
            self._progress(self._text, done, self._total)
