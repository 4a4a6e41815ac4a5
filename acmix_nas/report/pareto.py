"""Which trials nothing beats."""

from collections.abc import Iterable

from acmix_nas.record import StudyHeader, TrialRecord

COSTS = ("macs", "macs_deploy", "params")


def front(records: Iterable[TrialRecord], cost: str = "macs") -> list[TrialRecord]:
    """The complete trials that no other beats in accuracy and cost: top1 high, cost low.

    Of trials with the same accuracy and the same cost the first is kept; so a shared score counts twice only where
    the second network is cheaper than the one that was trained.

    Args:
        records: Trials of one study.
        cost: Field of `Cost` to be small: "macs", "macs_deploy" or "params".

    Returns:
        The front, best accuracy first.
    """
    cheapest: int | None = None
    chosen: list[TrialRecord] = []
    for record in sorted(complete(records), key=lambda item: (-score(item), cost_of(item, cost), item.number)):
        if cheapest is None or cost_of(record, cost) < cheapest:
            cheapest = cost_of(record, cost)
            chosen.append(record)
    return chosen


def complete(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that have a score."""
    return [record for record in records if record.status == "complete"]


def score(record: TrialRecord) -> float:
    """Accuracy of a complete trial."""
    assert record.top1 is not None
    return record.top1


def cost_of(record: TrialRecord, cost: str) -> int:
    """One of the costs of a trial."""
    return int(getattr(record.cost, cost))


def chosen_cost(header: StudyHeader) -> str:
    """The cost that the study minimised; "macs" if it had none."""
    return next((name for name in header.objectives if name in COSTS), "macs")
