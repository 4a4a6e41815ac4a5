"""Finalists as a table: what the search said, what fresh seeds say, and what may be claimed against each baseline."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import yaml

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import escape
from acmix_nas.report.describe import arch_text, varying
from acmix_nas.report.facts import caption
from acmix_nas.report.intervals import MIN_SEEDS, Difference, differences
from acmix_nas.report.table import NOTHING, Cell, Column, Table

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """A network that was trained again.

    Attributes:
        name: What it is.
        arch_id: The network.
        trial: Its trial in the search, if it had one.
        search_top1: Its score there.
        records: Its complete fresh trainings, one for each seed.
    """

    name: str
    arch_id: str
    trial: int | None
    search_top1: float | None
    records: tuple[TrialRecord, ...]

    @property
    def scores(self) -> dict[Hashable, float]:
        """Seed -> accuracy."""
        return {record.seeds["init"]: record.top1 or 0.0 for record in self.records}

    @property
    def mean(self) -> float | None:
        """Mean accuracy over the fresh seeds; None without any."""
        return fmean(self.scores.values()) if self.records else None

    @property
    def bias(self) -> float | None:
        """The search's score less the fresh one: what being chosen by it adds."""
        return None if self.mean is None or self.search_top1 is None else self.search_top1 - self.mean


def finals_table(header: StudyHeader, finals: Sequence[Final], baselines: Mapping[str, str]) -> Table:
    """The finalists with both scores and their differences to the baselines.

    Args:
        header: Header of the search.
        finals: The networks, in the order of the list.
        baselines: Short name of a baseline -> name of the network that it is.
    """
    scores = {final.name: final.scores for final in finals if final.records}
    gains = {short: differences(scores, name) for short, name in baselines.items()}
    records = [record for final in finals for record in final.records]
    shown = varying(record.arch for record in records)
    return Table(
        name=f"{escape.label(header.name)}-finalists",
        title=f"Finalists of {header.name}: trained again with fresh seeds, scored on report images",
        columns=_columns(baselines),
        rows=tuple(_cells(final, gains, baselines, shown) for final in finals),
        caption=caption(_fresh(header), records) if records else "",
        notes=tuple(_notes(finals, gains)),
    )


def best_final(finals: Sequence[Final]) -> Final | None:
    """The network with the best fresh mean; None before any is trained."""
    return max((final for final in finals if final.mean is not None), key=lambda item: item.mean or 0.0, default=None)


def finals_yaml(header: StudyHeader, best: Final) -> str:
    """best.yaml of the network with the best fresh score."""
    record, seeds = best.records[0], len(best.records)
    head = [
        f"The best network of study {header.name} by fresh scores: {best.name}.",
        f"report top-1, mean of {seeds} fresh seeds: {best.mean:.4f}",
        "Count and time it: acmix profile best.yaml",
    ]
    cost = {name: getattr(record.cost, name) for name in ("params", "macs", "macs_deploy", "input_size")}
    values = {
        "study": header.name,
        "trial": best.trial,
        "arch_id": best.arch_id,
        "score": {"top1": best.mean, "split": "report", "seeds": seeds},
        "cost": cost,
        "arch": record.arch.to_dict(),
    }
    comments = "".join(f"# {escape.plain(line)}\n" for line in head)
    return comments + yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=160)


def verdict(difference: Difference) -> str:
    """What may be said of a difference."""
    if difference.pairs < MIN_SEEDS or difference.half_width is None:
        return f"needs {MIN_SEEDS} seeds"
    if abs(difference.mean) <= difference.half_width:
        return "not distinguishable"
    return "better" if difference.mean > 0 else "worse"


def _fresh(header: StudyHeader) -> StudyHeader:
    """The header with the split that finalists are scored on."""
    settings = {name: value for name, value in header.settings.items() if name != "asked"}  # that is of the search
    return StudyHeader.from_dict({**header.to_dict(), "split": "report", "settings": settings})


def _columns(baselines: Mapping[str, str]) -> tuple[Column, ...]:
    return (
        Column(key="name", title="network", wrap=True),
        Column(key="arch", title="network by stage", wrap=True, paper_width=0.2),
        Column(key="search", title="search top-1, %", short="search %", numeric=True),
        Column(key="fresh", title="fresh report top-1, %", short="fresh %", numeric=True),
        Column(key="n", title="n", numeric=True),
        Column(key="bias", title="selection bias, points", short="bias", numeric=True),
        *(
            Column(key=f"against {short}", title=f"against {short}, points", short=f"vs {short}", numeric=True)
            for short in baselines
        ),
        Column(key="params", title="params M", numeric=True),
        Column(key="macs", title="MACs G", numeric=True),
        Column(key="trial", title="trial", numeric=True),
        Column(key="arch_id", title="arch id", wrap=True, printed=False),
    )


def _cells(
    final: Final,
    gains: Mapping[str, Mapping[str, Difference]],
    baselines: Mapping[str, str],
    shown: frozenset[str],
) -> tuple[Cell, ...]:
    cost = final.records[0].cost if final.records else None
    against = [
        Cell("baseline") if baselines[short] == final.name else _gain(found.get(final.name))
        for short, found in gains.items()
    ]
    text = arch_text(final.records[0].arch, shown) if final.records else "-"
    return (
        Cell(final.name, final.name),
        Cell(text, text),
        _percent(final.search_top1),
        _fresh_cell(final),
        Cell(str(len(final.records)), len(final.records)),
        NOTHING if final.bias is None else Cell(_signed(final.bias), final.bias),
        *against,
        NOTHING if cost is None else Cell(f"{cost.params / 1e6:.2f}", cost.params),
        NOTHING if cost is None else Cell(f"{cost.macs / 1e9:.2f}", cost.macs),
        NOTHING if final.trial is None else Cell(str(final.trial), final.trial),
        Cell(final.arch_id, final.arch_id),
    )


def _percent(top1: float | None) -> Cell:
    return NOTHING if top1 is None else Cell(f"{100 * top1:.1f}", top1)


def _fresh_cell(final: Final) -> Cell:
    if final.mean is None:
        return NOTHING
    spread = f" ± {100 * stdev(final.scores.values()):.1f}" if len(final.records) > 1 else ""
    return Cell(f"{100 * final.mean:.1f}{spread}", final.mean)


def _gain(difference: Difference | None) -> Cell:
    if difference is None:
        return NOTHING
    width = "" if difference.half_width is None else f" ± {100 * difference.half_width:.1f}"
    return Cell(f"{_signed(difference.mean)}{width} ({verdict(difference)})", difference.mean)


def _signed(value: float) -> str:
    """Accuracy in points with its sign."""
    text = f"{100 * value:+.1f}"
    return text.replace("-", MINUS)


def _notes(finals: Sequence[Final], gains: Mapping[str, Mapping[str, Difference]]) -> list[str]:
    biased = [final.bias for final in finals if final.bias is not None and final.name.startswith("finalist")]
    notes = [
        "The list was fixed before any of it was trained again. Search scores were read on search images with the "
        "search's seed, fresh ones on report images with seeds the search never used."
    ]
    if biased:
        notes.append(
            f"Selection bias of the finalists, search score less fresh score: {_signed(fmean(biased))} points in the "
            "mean; it includes whatever the two sets of images differ by."
        )
    if any(gains.values()):
        notes.append(
            "Differences are paired by seed, with simultaneous 95 % intervals for each baseline; where an interval "
            "holds zero, the two are not distinguishable."
        )
    return notes
