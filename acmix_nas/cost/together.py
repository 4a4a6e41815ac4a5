"""Times networks together: on one batch that fits all of them, in turns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from acmix_nas.cost.clock import Run, capture, clock_for
from acmix_nas.cost.execution import Execution, Step, conditions, first_run, make_images, make_step
from acmix_nas.cost.memory import largest_fitting, ran_out, within_memory
from acmix_nas.cost.network import Network
from acmix_nas.cost.timing import Timing, measure
from acmix_nas.errors import AcmixError, UsageError
from acmix_nas.sizes import Pair

ROUNDS, COMPARED_ROUNDS = 10, 30
"""Repetitions before the spread is believed; the more for networks that are compared, whose ratio needs them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long is measured.

    Attributes:
        spread: Repeating ends when the interquartile range over the median is below it for every row.
        limit_s: Or after about this many seconds for each row.
        memory: Whether peak memory is measured, on the CPU in a process of its own for each row.
        counters: Whether the public counters are asked.
        time: Whether networks are timed at all; else they are only counted.
    """

    spread: float = 0.05
    limit_s: float = 10.0
    memory: bool = True
    counters: bool = True
    time: bool = True


@dataclass(frozen=True, slots=True)
class Subject:
    """A network that was built and counted.

    Attributes:
        network: Its description.
        model: It, in its form, on its device.
        counts: The counted part of its row.
    """

    network: Network
    model: nn.Module
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Networks timed together.

    Attributes:
        asked: Images asked for.
        size: Images that ran.
        steps: A run of each network, in their order.
        firsts: What `first_run` says of each.
        timings: The timing of each.
    """

    asked: int
    size: int
    steps: list[Step]
    firsts: list[tuple[float, int]]
    timings: list[Timing]


def time_together(
    subjects: Sequence[Subject],
    batch_size: int,
    size: Pair,
    how: Execution,
    effort: Effort,
    tick: Callable[[float], None],
) -> Batch:
    """Times networks in turns on one batch, the largest up to `batch_size` that fits all of them.

    Args:
        subjects: The networks.
        batch_size: Images asked for.
        size: (height, width) of an image in pixels.
        how: How they are run.
        effort: How long is measured.
        tick: Told of every round.

    Raises:
        UsageError: A network does not run as asked; not even one image fits into memory.
    """

    def attempt(batch: int) -> tuple[list[Step], list[tuple[float, int]], list[Run]]:
        with within_memory(how.device):
            images = make_images(batch, size, how)
            steps = [make_step(subject.model, images, how) for subject in subjects]
            firsts = [_first(step, subject, size) for step, subject in zip(steps, subjects, strict=True)]
            return steps, firsts, [capture(step, how.device) if how.cuda_graph else step for step in steps]

    what = f"{', '.join(subject.network.label for subject in subjects)} at {size[0]} x {size[1]} pixels"
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
    return Batch(asked=batch_size, size=ran, steps=steps, firsts=firsts, timings=list(timings.values()))


def _first(step: Step, subject: Subject, size: Pair) -> tuple[float, int]:
    try:
        return first_run(step)
    except Exception as error:  # networks, dtypes and the compiler fail in ways of their own
        if ran_out(error):
            raise
        if isinstance(error, AcmixError):
            raise UsageError(f"{subject.network.label}, batches of {len(step.images)}: {error}") from error
        settings = ", ".join(f"{key} {value}" for key, value in step.how.facts().items() if value)
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise UsageError(
            f"{subject.network.label} does not run on images of {size[0]} x {size[1]} pixels on {step.how.device} with "
            f"{settings}: {reason}. Leave out what it does not take."
        ) from error
