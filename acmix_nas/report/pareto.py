"""Which trials nothing beats, and the costs that they are shown by."""

from collections.abc import Iterable, Sequence

from acmix_nas.front import front
from acmix_nas.metrics import COSTS, TIMED, TOP1
from acmix_nas.record import StudyHeader, TrialRecord

COUNTED = ("macs", "macs_deploy", "params")
"""Costs that every network has."""


def front_of(header: StudyHeader, records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The complete trials that no other beats in what the study optimises, best accuracy first."""
    return front(records, header.measures)


def edge(records: Iterable[TrialRecord], cost: str) -> list[TrialRecord]:
    """The complete trials that no other beats in accuracy and one cost, best accuracy first."""
    return front(records, (TOP1, COSTS[cost]))


def axis_of(header: StudyHeader) -> str:
    """The first cost that the study optimises; "macs" if it had none."""
    return next((name for name in header.objectives if name in COSTS), "macs")


def timed(header: StudyHeader, records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """Costs that a latency table told of all trials: those the study optimises, else the latency it was limited by."""
    wanted = [name for name in TIMED if name in header.objectives] or ["latency_ms"]
    return tuple(name for name in wanted if records and all(getattr(item.cost, name) is not None for item in records))


def complete(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that have a score."""
    return [record for record in records if record.status == "complete"]


def score(record: TrialRecord) -> float:
    """Accuracy of a complete trial."""
    assert record.top1 is not None
    return record.top1


def cost_of(record: TrialRecord, cost: str) -> float:
    """One of the costs of a trial, in the unit it is shown in."""
    return COSTS[cost].shown(float(getattr(record.cost, cost)))


def is_less_better(cost: str) -> bool:
    """Whether a cost is to be small."""
    return COSTS[cost].better == "lower"


def titles(header: StudyHeader) -> str:
    """What the study optimises, for people: "top-1 against MACs and params"."""
    costs = " and ".join(COSTS[name].title for name in header.objectives if name in COSTS)
    return f"top-1 against {costs}" if costs else "top-1"


def axis_label(cost: str, records: Sequence[TrialRecord]) -> str:
    """Name of a cost axis, with the input size or the batch that it is told of."""
    sizes = " and ".join(str(size) for size in sorted({record.cost.input_size for record in records}))
    known = [record.cost for record in records if record.cost.latency_ms and record.cost.throughput]
    batches = {round((cost.throughput or 0) * (cost.latency_ms or 0) / 1000) for cost in known}
    batch = " and ".join(map(str, sorted(batches)))
    return {
        "macs": f"MACs of the full network at {sizes} px (G)",
        "macs_deploy": f"MACs of the deployed full network at {sizes} px (G)",
        "params": "parameters of the full network (M)",
        "latency_ms": f"latency of the full network by table, batch size {batch} (ms)",
        "throughput": f"throughput of the full network by table, batch size {batch} (images/s)",
    }[cost]
