"""The rows of an ablation: the trials of each variant, one for each seed."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from acmix_nas.errors import RecordError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.pareto import complete, score


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The trials of one variant.

    Attributes:
        name: The row's name.
        trials: The complete ones, one for each seed.
        failed: Number of seeds that failed.
        shared: Whether all scores are another row's.
    """

    name: str
    trials: tuple[TrialRecord, ...]
    failed: int
    shared: bool

    @property
    def scores(self) -> dict[Hashable, float]:
        """Seed -> score."""
        return {seed_of(record): score(record) for record in self.trials}

    @property
    def mean(self) -> float | None:
        """Mean score; None without a complete trial."""
        return fmean(self.scores.values()) if self.trials else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds with n - 1; None below two seeds."""
        return stdev(self.scores.values()) if len(self.trials) > 1 else None

    @property
    def throughput(self) -> float | None:
        """Median images per second of the full network; None if it was not measured."""
        found = [record.environment.get("throughput_img_per_s") for record in self.trials]
        speeds = [float(speed) for speed in found if isinstance(speed, int | float)]
        return median(speeds) if speeds else None

    @property
    def reused(self) -> tuple[str, ...]:
        """Names of the studies that its cells were taken from."""
        origins = (
            str(record.environment["reused_from"]) for record in self.trials if "reused_from" in record.environment
        )
        return tuple(dict.fromkeys(origin.rpartition(":")[0] for origin in origins))


def rows(header: StudyHeader, records: Sequence[TrialRecord]) -> list[Row]:
    """The rows in the order of the header; a repeated seed counts once, the latest trial.

    Raises:
        RecordError: A row holds trials of two networks.
    """
    names = dict.fromkeys([*header.rows, *(record.label for record in records)])
    return [_row(name, [record for record in records if record.label == name]) for name in names]


def seed_of(record: TrialRecord) -> Hashable:
    """What pairs trials of different rows: the same seeds."""
    return tuple(sorted(record.seeds.items()))


def _row(name: str, records: list[TrialRecord]) -> Row:
    scored = {seed_of(record): record for record in sorted(complete(records), key=lambda item: item.number)}
    archs = {record.arch_id: record.number for record in scored.values()}
    if len(archs) > 1:
        raise RecordError(
            f"row {name!r} holds different networks: trials {', '.join(map(str, archs.values()))}, "
            f"{', '.join(archs)}; one row is one network: give the second another name."
        )
    failed = sum(1 for record in records if record.status == "failed" and seed_of(record) not in scored)
    shared = bool(scored) and all(record.shared_with is not None for record in scored.values())
    return Row(name=name, trials=tuple(scored.values()), failed=failed, shared=shared)
