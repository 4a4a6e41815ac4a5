"""The finalists of a search's folder: what the search said, what fresh seeds say, what may be claimed."""

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

from acmix_nas.metrics import Metric
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import escape
from acmix_nas.report.describe import arch_text, varying
from acmix_nas.report.facts import caption
from acmix_nas.report.intervals import Difference, differences
from acmix_nas.report.table import MINUS, NOTHING, Cell, Column, Table, cost_cells, cost_columns, numeric
from acmix_nas.study.finals import Candidate, load_finals, load_list, sort_fresh

log = logging.getLogger(__name__)

BASELINES = {"plain host": "plain host", "paper": "paper", "random search": "best of "}
"""Short name -> how the name of the network begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """A network that was trained again.

    Attributes:
        name: What it is.
        arch_id: The network.
        trial: Its trial in the search, if it had one.
        search_score: Its score there.
        records: Its complete fresh trainings, one for each seed.
    """

    name: str
    arch_id: str
    trial: int | None
    search_score: float | None
    records: tuple[TrialRecord, ...]

    @property
    def scores(self) -> dict[Hashable, float]:
        """Seed -> score."""
        return {record.seeds["init"]: record.score or 0.0 for record in self.records}

    @property
    def mean(self) -> float | None:
        """Mean score over the fresh seeds; None without any."""
        return fmean(self.scores.values()) if self.records else None

    @property
    def bias(self) -> float | None:
        """The search's score less the fresh one: what being chosen by it adds."""
        return None if self.mean is None or self.search_score is None else self.search_score - self.mean


@dataclass(frozen=True, slots=True)
class Fresh:
    """The finalists that were trained again.

    Attributes:
        table: All of them with both scores.
        best: The best by fresh scores.
    """

    table: Table
    best: Final


def stored_finals(folder: Path, header: StudyHeader) -> Fresh | None:
    """The finalists of the search in a folder; None where nothing was trained again.

    Args:
        folder: The study's folder.
        header: Its header.

    Raises:
        RecordError: A record of theirs is unreadable.
    """
    if header.kind != "search":
        return None
    candidates = load_list(folder)
    records = sort_fresh(load_finals(folder), header.settings, seed=header.seed, metric=header.metric.name)
    for note in records.notes:
        log.warning("%s: %s", folder.name, note)
    finals = [_final(candidate, records.kept) for candidate in candidates]
    best = best_final(header.metric, finals)
    if best is None:
        return None
    baselines = {
        short: candidate.name
        for short, start in BASELINES.items()
        for candidate in candidates
        if any(name.startswith(start) for name in candidate.names)
    }
    table = finals_table(header, finals, baselines)
    return Fresh(replace(table, notes=(*table.notes, *records.notes)), best)


def _final(candidate: Candidate, fresh: Sequence[TrialRecord]) -> Final:
    arch_id = candidate.arch.id
    done = {each.seeds["init"]: each for each in fresh if each.arch_id == arch_id and each.status == "complete"}
    records = tuple(done.values())
    return Final(
        name=candidate.name, arch_id=arch_id, trial=candidate.trial, search_score=candidate.score, records=records
    )


def finals_table(header: StudyHeader, finals: Sequence[Final], baselines: Mapping[str, str]) -> Table:
    """The finalists with both scores and their differences to the baselines.

    Args:
        header: Header of the search.
        finals: The networks, in the order of the list.
        baselines: Short name of a baseline -> name of the network that it is.
    """
    scores = {final.name: final.scores for final in finals if final.records}
    gains = {short: differences(scores, name, better=header.metric.better) for short, name in baselines.items()}
    records = [record for final in finals for record in final.records]
    shown = varying(record.arch for record in records)
    return Table(
        name=f"{escape.label(header.name)}-finalists",
        title=f"Finalists of {header.name}: trained again with fresh seeds, scored on report images",
        columns=_columns(header.metric, baselines),
        rows=tuple(_cells(header.metric, final, gains, baselines, shown) for final in finals),
        caption=caption(_fresh(header), records) if records else "",
        notes=tuple(_notes(header.metric, finals, gains)),
    )


def best_final(metric: Metric, finals: Sequence[Final]) -> Final | None:
    """The network with the best fresh mean; None before any is trained."""
    trained = (final for final in finals if final.mean is not None)
    return max(trained, key=lambda final: metric.gain(final.mean or 0.0), default=None)


def _fresh(header: StudyHeader) -> StudyHeader:
    """The header with the split that finalists are scored on."""
    settings = {name: value for name, value in header.settings.items() if name != "asked"}  # that is of the search
    return StudyHeader.from_dict({**header.to_dict(), "split": "report", "settings": settings})


def _columns(metric: Metric, baselines: Mapping[str, str]) -> tuple[Column, ...]:
    return (
        Column(key="name", title="network", wrap=True),
        Column(key="arch", title="network by stage", wrap=True, paper_width=0.2),
        numeric("search", metric.of_values(f"search {metric.title}"), f"search {metric.unit}"),
        numeric("fresh", metric.of_values(f"fresh report {metric.title}"), f"fresh {metric.unit}"),
        numeric("n", "n"),
        numeric("bias", metric.of_differences("selection bias"), "bias"),
        *(numeric(f"against {short}", metric.of_differences(f"against {short}"), f"vs {short}") for short in baselines),
        *cost_columns()[:2],
        numeric("trial", "trial"),
        Column(key="arch_id", title="arch id", wrap=True, printed=False),
    )


def _cells(
    metric: Metric,
    final: Final,
    gains: Mapping[str, Mapping[str, Difference]],
    baselines: Mapping[str, str],
    shown: frozenset[str],
) -> tuple[Cell, ...]:
    cost = final.records[0].cost if final.records else None
    against = [
        Cell("baseline") if baselines[short] == final.name else _gain(metric, found.get(final.name))
        for short, found in gains.items()
    ]
    text = arch_text(final.records[0].arch, shown) if final.records else "-"
    return (
        Cell(final.name, final.name),
        Cell(text, text),
        NOTHING if (value := final.search_score) is None else Cell(metric.rounded_text(value), value),
        _fresh_cell(metric, final),
        Cell(str(len(final.records)), len(final.records)),
        NOTHING if final.bias is None else Cell(_signed(metric, final.bias), final.bias),
        *against,
        *cost_cells(cost)[:2],
        NOTHING if final.trial is None else Cell(str(final.trial), final.trial),
        Cell(final.arch_id, final.arch_id),
    )


def _fresh_cell(metric: Metric, final: Final) -> Cell:
    if final.mean is None:
        return NOTHING
    spread = f" ± {metric.rounded_text(stdev(final.scores.values()))}" if len(final.records) > 1 else ""
    return Cell(f"{metric.rounded_text(final.mean)}{spread}", final.mean)


def _gain(metric: Metric, difference: Difference | None) -> Cell:
    if difference is None:
        return NOTHING
    width = "" if difference.half_width is None else f" ± {metric.rounded_text(difference.half_width)}"
    return Cell(f"{_signed(metric, difference.mean)}{width} ({difference.verdict})", difference.mean)


def _signed(metric: Metric, value: float) -> str:
    """A difference in its unit with its sign."""
    return metric.difference_text(value, rounded=True).replace("-", MINUS)


def _notes(metric: Metric, finals: Sequence[Final], gains: Mapping[str, Mapping[str, Difference]]) -> list[str]:
    unit = f" {metric.points}".rstrip()
    biased = [final.bias for final in finals if final.bias is not None and final.name.startswith("finalist")]
    notes = [
        "The list was fixed before any network was trained again. Search scores were read on search images with "
        "the search's seed, fresh ones on report images with seeds the search never used."
    ]
    if biased:
        notes.append(
            "Selection bias of the finalists, search score less fresh score: "
            f"{_signed(metric, fmean(biased))}{unit} on average; it includes the difference between the two sets "
            "of images."
        )
    if any(gains.values()):
        notes.append(
            "Differences are paired by seed, with simultaneous 95 % intervals for each baseline; if an interval "
            "includes zero, the two are not distinguishable."
        )
    return notes
