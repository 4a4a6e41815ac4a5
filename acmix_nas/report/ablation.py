"""The table of an ablation: one row for each variant, its seeds, and the difference to the baseline."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from acmix_nas.errors import RecordError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.escape import label
from acmix_nas.report.facts import caption, check_comparable
from acmix_nas.report.intervals import MIN_SEEDS, Difference, differences
from acmix_nas.report.pareto import complete, score
from acmix_nas.report.table import NOTHING, Cell, Column, Table

SHARED = " †"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The trials of one variant: the complete ones, one for each seed, and whether their scores are another row's."""

    name: str
    trials: tuple[TrialRecord, ...]
    failed: int
    shared: bool

    @property
    def scores(self) -> dict[Hashable, float]:
        """Seed -> accuracy."""
        return {seed_of(record): score(record) for record in self.trials}

    @property
    def mean(self) -> float | None:
        """Mean accuracy; None without a complete trial."""
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


def rows(header: StudyHeader, records: Sequence[TrialRecord]) -> list[Row]:
    """The rows in the order of the header; a repeated seed counts once, the latest trial.

    Raises:
        RecordError: A row holds trials of two networks.
    """
    names = dict.fromkeys([*header.rows, *(record.label for record in records)])
    return [_row(name, [record for record in records if record.label == name]) for name in names]


def build(header: StudyHeader, records: Sequence[TrialRecord]) -> Table:
    """The ablation table.

    Raises:
        RecordError: Trials differ in split, data or budget, or a row holds two networks.
    """
    check_comparable(header, records)
    found = rows(header, records)
    gains = differences(
        {row.name: row.scores for row in found},
        header.baseline,
        frozenset(row.name for row in found if not row.shared),
    )
    base = header.baseline
    return Table(
        name=label(f"ablation-{header.space}"),
        title=f"Ablation {header.space} of {header.host}: {header.name}, {header.split} images",
        columns=_columns(header, found),
        rows=tuple(_cells(row, gains.get(row.name), is_base=row.name == base) for row in found),
        caption=caption(header, records),
        notes=tuple(_notes(header, found, gains)),
    )


def seed_of(record: TrialRecord) -> Hashable:
    """What pairs trials of different rows: the same seeds."""
    return tuple(sorted(record.seeds.items()))


def _row(name: str, records: list[TrialRecord]) -> Row:
    scored = {seed_of(record): record for record in sorted(complete(records), key=lambda item: item.number)}
    archs = {record.arch_id: record.number for record in scored.values()}
    if len(archs) > 1:
        raise RecordError(
            f"row {name!r} holds different networks: trials {', '.join(map(str, archs.values()))}, {', '.join(archs)}; "
            "one row is one network: give the second a name of its own."
        )
    failed = sum(1 for record in records if record.status == "failed" and seed_of(record) not in scored)
    shared = bool(scored) and all(record.shared_with is not None for record in scored.values())
    return Row(name=name, trials=tuple(scored.values()), failed=failed, shared=shared)


def _columns(header: StudyHeader, found: list[Row]) -> tuple[Column, ...]:
    sizes = {record.cost.input_size for row in found for record in row.trials}
    size = f" @{min(sizes)}" if len(sizes) == 1 else ""
    base = f" to {header.baseline} (95 %)" if header.baseline else ""
    return (
        Column(key="row", title="row", wrap=True),
        Column(key="mean", title=f"mean {header.split} top-1 %", short="top-1 %", numeric=True),
        Column(key="std", title="std", numeric=True),
        Column(key="n", title="n", numeric=True),
        Column(key="difference", title=f"difference{base}", short="difference", numeric=True, wrap=True),
        Column(key="params", title="params M", numeric=True),
        Column(key="macs", title=f"MACs G{size}", numeric=True),
        Column(key="macs_deploy", title=f"deployed MACs G{size}", short="deployed G", numeric=True),
        Column(key="throughput_img_per_s", title="throughput img/s", short="img/s", numeric=True),
    )


def _cells(row: Row, gain: Difference | None, *, is_base: bool) -> tuple[Cell, ...]:
    cost = row.trials[0].cost if row.trials else None
    mean, deviation, speed = row.mean, row.deviation, row.throughput
    return (
        Cell(row.name + (SHARED if row.shared else ""), row.name),
        NOTHING if mean is None else Cell(f"{100 * mean:.2f}", mean),
        NOTHING if deviation is None else Cell(f"± {100 * deviation:.2f}", deviation),
        Cell(str(len(row.trials)), len(row.trials)),
        Cell("baseline") if is_base else _gain(gain),
        NOTHING if cost is None else Cell(f"{cost.params / 1e6:.2f}", cost.params),
        NOTHING if cost is None else Cell(f"{cost.macs / 1e9:.2f}", cost.macs),
        NOTHING if cost is None else Cell(f"{cost.macs_deploy / 1e9:.2f}", cost.macs_deploy),
        NOTHING if speed is None else Cell(f"{speed:.0f}" if speed >= 100 else f"{speed:.1f}", speed),
    )


def _gain(gain: Difference | None) -> Cell:
    if gain is None:
        return NOTHING
    text = f"{100 * gain.mean:+.2f}".replace("-", MINUS)
    width = "" if gain.half_width is None else f" ± {100 * gain.half_width:.2f}"
    return Cell(text + width, gain.mean, bold=gain.stands_out)


def _notes(header: StudyHeader, found: list[Row], gains: dict[str, Difference]) -> list[str]:
    notes = ["Mean and standard deviation (with n - 1) over n seeds, in points of top-1."]
    if gains:
        notes.append(
            f"Differences to {header.baseline} are paired by seed, with simultaneous 95 % intervals (pooled residual"
            f" variance, Dunnett); bold where the interval leaves out zero and n is at least {MIN_SEEDS}."
        )
    batches = {record.environment.get("throughput_batch_size") for row in found for record in row.trials} - {None}
    if any(row.throughput for row in found) and len(batches) == 1:
        notes.append(f"img/s: the full network in float32, batches of {batches.pop()}, median.")
    if any(row.shared for row in found):
        notes.append("† The proxy network equals that of another row: trained once, the score is shared.")
    failed = sum(row.failed for row in found)
    if failed:
        notes.append(
            f"{failed} trial{'s' if failed > 1 else ''} failed and count{'' if failed > 1 else 's'} in no row."
        )
    if not any(row.trials for row in found):
        notes.append("No trial is complete.")
    return notes
