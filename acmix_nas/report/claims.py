"""The rows of an ablation, what is claimed of them, and what keeps a claim from being made."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from acmix_nas.errors import RecordError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.intervals import MIN_SEEDS, Difference, best_rows, differences, seed_correlation
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The statistics of a table.

    Attributes:
        baseline: The row that others are compared with.
        claimed: Rows that something may be claimed of: no seed failed, and the scores are their own.
        gains: Row -> difference to the baseline.
        best: Rows that cannot be distinguished from the best.
        p: Row -> Holm's p of the sign-flip test, for rows with enough seeds.
        needed: Seeds that such a p needs.
        correlation: Of two rows with the same seeds.
        twins: Rows whose scores a shared baseline has.
        blocked: Whether nothing can be claimed because of the baseline.
    """

    baseline: str | None
    claimed: frozenset[str]
    gains: Mapping[str, Difference]
    best: frozenset[str]
    p: Mapping[str, float]
    needed: int
    correlation: float | None
    twins: frozenset[str]
    blocked: bool

    @classmethod
    def of(cls, header: StudyHeader, found: Sequence[Row]) -> "Claims":
        """The statistics of these rows."""
        scores = {row.name: row.scores for row in found}
        turned = {
            name: {seed: header.metric.gain(value) for seed, value in cells.items()} for name, cells in scores.items()
        }
        base = next((row for row in found if row.name == header.baseline), None)
        twins = _twins(base, found)
        claimed = frozenset(
            row.name
            for row in found
            if row.trials and not row.failed and row.name not in twins and (not row.shared or row is base)
        )
        gains = differences(scores, header.baseline, claimed, better=header.metric.better)
        compared = [name for name in gains if name in claimed] if header.baseline in claimed else []
        needed = seeds_needed(max(1, len(compared)))
        tests = {
            name: value
            for name in compared
            if gains[name].pairs >= needed and (value := _test(scores, header.baseline, name)) is not None
        }
        complete = len(tests) == len(compared)
        return cls(
            baseline=header.baseline,
            claimed=claimed,
            gains=gains,
            best=best_rows(turned, claimed),
            p=holm(tests) if complete else {},
            needed=needed,
            correlation=seed_correlation(scores, claimed),
            twins=twins,
            blocked=base is not None and base.name not in claimed,
        )

    def verdict(self, row: Row) -> str:
        """What is said of a row: "better", "worse", "not distinguishable", or why nothing is."""
        if row.failed:
            return "no claim: failed seeds"
        if row.name == self.baseline:
            return "baseline"
        if not row.trials:
            return "no trial"
        if row.shared or row.name in self.twins:
            return "same proxy network"
        if self.blocked:
            return "no claim: baseline failed"
        gain = self.gains.get(row.name)
        return "no pair" if gain is None else gain.verdict

    def notes(self) -> list[str]:
        """How the tests stand, in sentences."""
        notes = []
        if self.best:
            notes.append("Bold: not distinguishable from the best row (95 %).")
        else:
            notes.append(f"Nothing is bold, which needs n >= {MIN_SEEDS} seeds.")
        if self.correlation is not None:
            notes.append(f"Rows with the same seed correlate by {self.correlation:.2f} (intraclass).")
        if self.p:
            notes.append("p: exact sign-flip test of the paired differences, Holm's correction over the rows.")
        else:
            notes.append(f"p unavailable: the exact sign-flip test with Holm's correction needs n >= {self.needed}.")
        return notes


def _twins(base: Row | None, found: Sequence[Row]) -> frozenset[str]:
    """Rows whose scores a shared baseline has: compared with them, nothing could differ."""
    if base is None or not base.shared:
        return frozenset()
    numbers = {record.shared_with for record in base.trials}
    return frozenset(row.name for row in found if row is not base and any(t.number in numbers for t in row.trials))


def _test(scores: Mapping[str, Mapping[object, float]], baseline: str | None, row: str) -> float | None:
    base = scores[baseline or ""]
    return sign_flip([value - base[seed] for seed, value in scores[row].items() if seed in base])


LEVEL = 0.05
RESOLUTION = 1e-12
"""Sums closer than this count as equal: accuracies are fractions of one number of images."""
MOST_SUMS = 2_000_000


def sign_flip(differences: Sequence[float]) -> float | None:
    """Probability of a mean so far from zero if every difference could as well have the other sign.

    Exact: all 2^n signs are counted, sums that are equal together (Fisher 1935).

    Args:
        differences: One for each seed.

    Returns:
        The two-sided p, at least 2 / 2^n; None where the sums are too many to count.
    """
    sums = Counter({0: 1})
    for difference in differences:
        size, grown = round(abs(difference) / RESOLUTION), Counter[int]()
        for total, count in sums.items():
            grown[total + size] += count
            grown[total - size] += count
        sums = grown
        if len(sums) > MOST_SUMS:
            return None
    seen = abs(sum(round(difference / RESOLUTION) for difference in differences))
    slack = len(differences) + 1  # each rounding is off by half of it at most
    extreme = sum(count for total, count in sums.items() if abs(total) >= seen - slack)
    return float(extreme / 2 ** len(differences))


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p (Holm 1979): below the level, the family's error is at most the level."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(values) - rank) * value))
        adjusted[name] = largest
    return adjusted


def seeds_needed(comparisons: int, level: float = LEVEL) -> int:
    """Seeds below which no difference of such a family can be significant: the least n with m 2 / 2^n <= level."""
    number = 1
    while comparisons * 2 / 2**number > level:
        number += 1
    return number
