"""The order in which results count: fixed, so that a study decides the same whatever arrives first.

A study decides on jobs: a new trial, or a paused one that goes on. On job j it decides when the results of the jobs
0 to j - lag count, and no other does: those count as running, also if they have arrived. So each decision follows from
the seed, the lag and earlier results alone, not from the time that anything takes. With as many jobs in training as the
lag, a free worker waits for the oldest of them; a longer lag waits less, and decides on less.
"""

from collections.abc import Iterable

from acmix_nas.record import TrialRecord

FIXED, FREE = "fixed", "free"
MOST_PRUNED = 2
"""Workers up to which a study that prunes has a fixed order by default: jobs of one epoch and of six then wait for each
other for 3 % of the time, with 8 workers for 15 % (benchmarks/scale.py)."""


def default_order(workers: int, *, prunes: bool) -> str:
    """The order where a fixed one costs less than a tenth of the workers' time; else the free one."""
    return FREE if prunes and workers > MOST_PRUNED else FIXED


def lag_of(workers: int, *, prunes: bool) -> int:
    """Jobs whose results do not count yet when the next is decided on, at most; no fewer than the workers."""
    if workers == 1:
        return 1
    return 2 * workers if prunes else workers + workers // 4


class ResultOrder:
    """Holds results back until their turn has come.

    Args:
        lag: Jobs whose results do not count at a decision; None lets each result count when it arrives.
        decided: Jobs that are decided on.
        open_jobs: Numbers of those of them whose results do not count yet.

    Attributes:
        decided: Jobs that are decided on; the number of the next one.
    """

    def __init__(self, lag: int | None, *, decided: int = 0, open_jobs: Iterable[int] = ()) -> None:
        self.decided = decided
        self._lag = lag
        self._counted = min(open_jobs, default=decided)
        self._arrived: dict[int, TrialRecord] = {}

    def decide(self) -> int:
        """The number of the job that is now decided on."""
        self.decided += 1
        return self.decided - 1

    def may_decide(self) -> bool:
        """Whether all results count that must for the next decision."""
        return self._lag is None or self._counted > self.decided - self._lag

    def arrive(self, number: int, record: TrialRecord) -> None:
        """Takes the result of a job."""
        self._arrived[number] = record

    def is_due(self, number: int) -> bool:
        """Whether the result of a job would count at once."""
        return self._lag is None or (number == self._counted and not self.may_decide())

    def due(self) -> TrialRecord | None:
        """The next result that must count before anything else is decided; each is given once."""
        if self._lag is None:
            return self._arrived.popitem()[1] if self._arrived else None
        return None if self.may_decide() else self.following()

    def following(self) -> TrialRecord | None:
        """The next result in order, if it has arrived; asked for where nothing is left to decide before it."""
        record = self._arrived.pop(self._counted, None)
        self._counted += record is not None
        return record
