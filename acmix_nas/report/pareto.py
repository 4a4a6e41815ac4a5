"""Which trials nothing beats, and the axes that they are shown on."""

from collections.abc import Iterable, Sequence

from acmix_nas.front import front
from acmix_nas.metrics import COSTS, TIMED
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.sizes import pair, size_text

COUNTED = ("macs", "macs_deploy", "params")
"""Costs that every network has."""
AXES = {
    "macs": "MACs of the full network at {sizes} px",
    "macs_deploy": "MACs of the deployed full network at {sizes} px",
    "params": "parameters of the full network",
}
"""Names of the axes of some costs."""


def front_of(header: StudyHeader, records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The complete trials that no other beats in what the study optimises, best score first."""
    return front(records, header.measures)


def edge(header: StudyHeader, records: Iterable[TrialRecord], cost: str) -> list[TrialRecord]:
    """The complete trials that no other beats in the score and one cost, best score first."""
    return front(records, (header.metric, COSTS[cost]))


def axis_of(header: StudyHeader) -> str:
    """The first cost that the study optimises; "macs" if it had none."""
    return next((name for name in header.objectives if name in COSTS), "macs")


def timed(header: StudyHeader, records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """Costs of all trials from a latency table: those the study optimises, else the latency it was limited by."""
    wanted = [name for name in TIMED if name in header.objectives] or ["latency_ms"]
    return tuple(name for name in wanted if records and all(getattr(item.cost, name) is not None for item in records))


def complete(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that have a score."""
    return [record for record in records if record.status == "complete"]


def score(record: TrialRecord) -> float:
    """The score of a complete trial."""
    assert record.score is not None
    return record.score


def cost_of(record: TrialRecord, cost: str) -> float:
    """One of the costs of a trial, in the unit it is shown in."""
    return COSTS[cost].shown(float(getattr(record.cost, cost)))


def titles(header: StudyHeader) -> str:
    """What the study optimises, for people: "top-1 against MACs and params"."""
    costs = " and ".join(COSTS[name].title for name in header.objectives if name in COSTS)
    return f"{header.metric.title} against {costs}" if costs else header.metric.title


def score_label(header: StudyHeader) -> str:
    """Name of the axis of scores: "top-1 on search images, % (proxy training)"."""
    return f"{header.metric.of_values(f'{header.metric.title} on {header.split} images')} (proxy training)"


def axis_label(cost: str, records: Sequence[TrialRecord]) -> str:
    """Name of a cost axis, with its input size or batch."""
    metric = COSTS[cost]
    if cost in TIMED:
        known = [record.cost for record in records if record.cost.latency_ms and record.cost.throughput]
        batches = {round((cost.throughput or 0) * (cost.latency_ms or 0) / 1000) for cost in known}
        name = f"{metric.title} of the full network by table, batch size {' and '.join(map(str, sorted(batches)))}"
    else:
        sizes = " and ".join(size_texts(records))
        name = AXES.get(cost, f"{metric.title} of the full network").format(sizes=sizes)
    return f"{name} ({metric.unit})"


def size_texts(records: Iterable[TrialRecord]) -> list[str]:
    """The sizes of the images that costs are counted at, smallest first."""
    sizes = {record.cost.input_size for record in records}
    return [size_text(size) for size in sorted(sizes, key=pair)]


def size_suffix(records: Iterable[TrialRecord]) -> str:
    """What a heading adds to a count: " @224" where all are of one size."""
    sizes = size_texts(records)
    return f" @{sizes[0]}" if len(sizes) == 1 else ""
