"""What a study's folder says of its finalists: their table and the best of them by fresh scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from acmix_nas.record import StudyHeader
from acmix_nas.report.finals import Final, best_final, finals_table
from acmix_nas.report.table import Table

if TYPE_CHECKING:
    from acmix_nas.search.finalists import Candidate

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
    from acmix_nas.search.finalists import load_list  # loads torch, which an ablation's report does without

    candidates = load_list(folder)
    finals = [_final(folder, candidate) for candidate in candidates]
    best = best_final(finals)
    if best is None:
        return None
    baselines = {
        short: candidate.name
        for short, start in BASELINES.items()
        for candidate in candidates
        if any(name.startswith(start) for name in candidate.names)
    }
    return Fresh(finals_table(header, finals, baselines), best)


def _final(folder: Path, candidate: "Candidate") -> Final:
    from acmix_nas.search.finalists import load_finals

    records = {
        record.seeds["init"]: record
        for record in load_finals(folder)
        if record.arch_id == candidate.arch.id and record.status == "complete"
    }
    return Final(
        name=candidate.name,
        arch_id=candidate.arch.id,
        trial=candidate.trial,
        search_top1=candidate.top1,
        records=tuple(records.values()),
    )
