"""Builds a `LatencyTable`: every mixer of a space timed in its place inside a whole network.

A network holds one mixer in each block, so a few dozen networks hold all. In each round a network is run once with a
stamp at the begin and the end of every mixer, and the same reference network beside it: the machine's fast and slow
minutes are divided out. Other networks, drawn from the space, are then timed whole against what the table says.
"""

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from acmix_nas.arch import Arch
from acmix_nas.cost.clock import Clock, clock_for
from acmix_nas.cost.compare import spearman
from acmix_nas.cost.environment import environment
from acmix_nas.cost.execution import Execution, Step, conditions, make_images, make_step, prepare
from acmix_nas.cost.latency import Block, Check, LatencyTable, blocks_of
from acmix_nas.cost.network import Network
from acmix_nas.errors import UsageError
from acmix_nas.sizes import Pair, pair
from acmix_nas.space import Space

Progress = Callable[[str, float, float], None]
"""Called with (what is done now, networks done, networks in all)."""

ROUNDS = 15
HELD_OUT = 20


def build_table(
    space: Space,
    *,
    how: Execution,
    batch_size: int = 1,
    input_size: Pair | None = None,
    rounds: int = ROUNDS,
    held_out: int = HELD_OUT,
    seed: int = 0,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measures a space.

    Args:
        space: The space.
        how: How networks are run.
        batch_size: Images in the batch.
        input_size: (height, width) of the images in pixels; the space's own if None.
        rounds: How often each network is timed, with at most a quarter of them more to warm up.
        held_out: Networks that the table is checked with.
        seed: Seed of their draw.
        progress: Told of every network.

    Returns:
        The table with its check.

    Raises:
        UsageError: Networks are run in a way in which a block's own time is not seen.
    """
    _refuse_unseen(how)
    size = input_size or pair(space.input_size)
    bench = _Bench(how, batch_size, size, rounds)
    covering, drawn = covering_archs(space), draw(space, held_out, seed)
    times: dict[Block, list[float]] = defaultdict(list)
    rests, total = [], len(covering) + len(drawn)
    for index, arch in enumerate(covering):
        _tell(progress, "timing blocks", index, total)
        whole_ms, mixers_ms = bench.inside(arch)
        rests.append(whole_ms - sum(mixers_ms))
        for block, time_ms in zip(blocks_of(arch), mixers_ms, strict=True):
            times[block].append(time_ms)
    table = LatencyTable(
        space=space.name,
        host=space.host,
        env=environment(how.device),
        how=how.to_dict(),
        batch_size=batch_size,
        input_size=size,
        rest_ms=statistics.median(rests),
        mixers_ms={block: statistics.median(found) for block, found in times.items()},
    )
    measured = []
    for index, arch in enumerate(drawn):
        _tell(progress, "timing networks held out", len(covering) + index, total)
        measured.append(bench.whole(arch))
    return replace(table, check=check([table.latency_ms(arch) for arch in drawn], measured)) if drawn else table


def covering_archs(space: Space) -> list[Arch]:
    """Networks that hold every mixer of every block of the space, as few as there can be."""
    blocks = [[space.mixers(stage, block) for block in range(depth)] for stage, depth in enumerate(space.depths)]
    number = max(len(mixers) for stage in blocks for mixers in stage)
    return [
        Arch.canonical(
            host=space.host,
            stages=[[mixers[index % len(mixers)] for mixers in stage] for stage in blocks],
            conv_on=space.conv_on,
        )
        for index in range(number)
    ]


def draw(space: Space, number: int, seed: int) -> list[Arch]:
    """Distinct networks of the space, drawn choice by choice; as many as there are, if there are fewer."""
    rng, found = random.Random(seed), dict[Arch, None]()
    while len(found) < min(number, space.size):
        found[space.build(space.sample(lambda choice: rng.choice(choice.options)))] = None
    return list(found)


def check(predicted_ms: Sequence[float], measured_ms: Sequence[float]) -> Check:
    """Compares what a table says with what was measured."""
    errors = [
        abs(predicted - measured) / measured for predicted, measured in zip(predicted_ms, measured_ms, strict=True)
    ]
    return Check(
        measured_ms=tuple(measured_ms),
        told_ms=tuple(predicted_ms),
        spearman=float(spearman(np.asarray(predicted_ms), np.asarray(measured_ms))) if len(errors) > 1 else 1.0,
        median_error=statistics.median(errors),
        worst_error=max(errors),
    )


class _Bench:
    """Times networks, each beside the same reference network."""

    def __init__(self, how: Execution, batch_size: int, size: Pair, rounds: int) -> None:
        self._how, self._size, self._rounds = how, size, rounds
        self._images = make_images(batch_size, size, how)
        self._clock = clock_for(how.device, flush=how.flush_l2)
        self._reference: Step | None = None
        self._reference_ms = 0.0

    def whole(self, arch: Arch) -> float:
        """Milliseconds of a network."""
        step = self._step(arch)
        return statistics.median(self._rounds_of(step, lambda: [self._clock.time_ms(step)]))

    def inside(self, arch: Arch) -> tuple[float, list[float]]:
        """Milliseconds of a network, and of each of its mixers."""
        step = self._step(arch)
        mixers: list[nn.Module] = step.model.mixers()  # type: ignore[attr-defined]

        def stamped_run() -> list[float]:
            with _stamped(mixers, self._clock) as stamps:
                whole_ms = self._clock.time_ms(step)
            return [whole_ms, *(self._clock.between_ms(start, end) for start, end in stamps)]

        whole_ms, *mixers_ms = self._rounds_of(step, stamped_run)
        assert len(mixers_ms) == len(mixers)
        return whole_ms, mixers_ms

    def _step(self, arch: Arch) -> Step:
        model = prepare(Network(name=arch.id, arch=arch).build(self._size), self._how)
        step = make_step(model, self._images, self._how)
        if self._reference is None:
            self._reference = step
        return step

    def _rounds_of(self, step: Step, run: Callable[[], list[float]]) -> list[float]:
        """Medians over the rounds, at the speed that the reference had at the start."""
        reference = self._reference
        assert reference is not None
        found: list[list[float]] = []
        beside: list[float] = []
        models: Any = [step.model, reference.model]
        with conditions(models, self._how):
            for _ in range(1 + self._rounds // 4):
                step(), reference()
            for _ in range(self._rounds):
                found.append(run())
                beside.append(self._clock.time_ms(reference))
        now_ms = statistics.median(beside)
        self._reference_ms = self._reference_ms or now_ms
        return [statistics.median(column) * self._reference_ms / now_ms for column in zip(*found, strict=True)]


@contextmanager
def _stamped(modules: Sequence[nn.Module], clock: Clock) -> Iterator[list[list[Any]]]:
    """Inside this context every call of one of the modules leaves [start, end], in the order of calls."""
    stamps: list[list[Any]] = []
    hooks = []
    for module in modules:
        hooks.append(module.register_forward_pre_hook(lambda *_: stamps.append([clock.stamp()])))
        hooks.append(module.register_forward_hook(lambda *_: stamps[-1].append(clock.stamp())))
    try:
        yield stamps
    finally:
        for hook in hooks:
            hook.remove()


def _refuse_unseen(how: Execution) -> None:
    for option, given in (
        ("--train", how.train),
        ("--compile", how.compiled),
        ("--cuda-graph", how.cuda_graph),
        ("--features-only", how.features_only),
    ):
        if given:
            raise UsageError(
                f"a latency table times each block inside a network's forward pass; {option} hides them. Leave it out."
            )


def _tell(progress: Progress | None, text: str, done: int, total: int) -> None:
    if progress is not None:
        progress(text, done, total)
