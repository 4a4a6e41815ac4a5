"""alpha and beta by depth: which blocks learn them, from which values, and what the front's trials ended with."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.pareto import front_of

STARTS = {
    "beta": (1.0, 0.5),
    "convex": (0.5, 0.5),
    "learned": (0.5, 0.5),
    "channel": (0.5, 0.5),
    "gated": (0.5, 0.5),
}
"""Rules that learn alpha or beta -> their values before training."""

Span = tuple[float, float, float]
"""Mean, least and largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The weights of one block over the trials of a front that learn them.

    Attributes:
        number: The block of the trained network, from 1.
        trials: Trials of the front whose rule learns them there.
        alpha: |alpha|, of attention.
        beta: |beta|, of convolution.
    """

    number: int
    trials: int
    alpha: Span
    beta: Span


def over_front(header: StudyHeader, records: Sequence[TrialRecord]) -> tuple[Block, ...]:
    """The blocks whose weights a trial of a search's front learns, first to last, after the last epoch.

    A shared score has the weights of the trial that was trained; it is left out.
    """
    if header.kind != "search":
        return ()
    trials = [record for record in front_of(header, records) if learns(record) and record.shared_with is None]
    pairs: dict[int, list[tuple[float, float]]] = {}
    for record in trials:
        for number, (pair, start) in enumerate(zip(record.mixing[-1], starts(record), strict=False), start=1):
            if pair is not None and start is not None:
                pairs.setdefault(number, []).append((abs(pair[0]), abs(pair[1])))
    return tuple(
        Block(number=number, trials=len(found), alpha=_span([a for a, _ in found]), beta=_span([b for _, b in found]))
        for number, found in sorted(pairs.items())
    )


def learns(record: TrialRecord) -> bool:
    """Whether some block's weights were learned."""
    return bool(record.mixing) and any(start is not None for start in starts(record)) and any(record.mixing[-1])


def starts(record: TrialRecord) -> list[tuple[float, float] | None]:
    """(alpha, beta) of each trained block before training; None where they are fixed."""
    depths = record.proxy.get("depths")
    depths = depths if isinstance(depths, list | tuple) else record.arch.depths
    rules = [
        stage[round(index * (len(stage) - 1) / max(1, depth - 1)) if depth > 1 else 0].combine
        for stage, depth in zip(record.arch.stages, depths, strict=True)
        for index in range(depth)
    ]
    count = len(record.mixing[-1]) if record.mixing else 0
    if len(rules) != count:  # a record of whole networks
        rules = [mixer.combine for mixer in record.arch.mixers]
    return [STARTS.get(rule or "") for rule in rules][:count]


def _span(values: Sequence[float]) -> Span:
    return fmean(values), min(values), max(values)
