"""What a study's folder says of its finalists: their table and the best of them by fresh scores."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.finals import Final, best_final, finals_table
from acmix_nas.report.table import Table

if TYPE_CHECKING:
    from acmix_nas.study.finals import Candidate

log = logging.getLogger(__name__)

BASELINES = {"plain host": "plain host", "paper": "paper", "random search": "best of "}
"""Short name -> how the name of the network begins."""


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
    from acmix_nas.study.finals import load_finals, load_list, sort_fresh  # loads torch, which ablations do without

    candidates = load_list(folder)
    records = sort_fresh(load_finals(folder), header.settings, seed=header.seed, metric=header.metric.name)
    for note in records.notes:
        log.warning("%s: %s", folder.name, note)
    finals = [_final(records.kept, candidate) for candidate in candidates]
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


def _final(fresh: Sequence[TrialRecord], candidate: "Candidate") -> Final:
    records = {
        record.seeds["init"]: record
        for record in fresh
        if record.arch_id == candidate.arch.id and record.status == "complete"
    }
    return Final(
        name=candidate.name,
        arch_id=candidate.arch.id,
        trial=candidate.trial,
        search_score=candidate.score,
        records=tuple(records.values()),
    )
