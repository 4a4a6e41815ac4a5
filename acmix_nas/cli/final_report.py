"""Files that are made from fresh scores once finalists were trained; the search's own stand until then."""

from pathlib import Path

from acmix_nas.files import write_text
from acmix_nas.record import StudyHeader
from acmix_nas.report.finals import Final, best_final, finals_table, finals_yaml
from acmix_nas.report.latex import as_latex
from acmix_nas.report.table import as_text
from acmix_nas.search.finalists import Candidate, load_finals, load_list

BASELINES = {"plain host": "plain host", "paper": "paper", "random search": "best of "}
"""Short name -> how the name of the network begins."""


def show_finals(folder: Path, header: StudyHeader) -> str:
    """Writes best.yaml and table.tex from the finalists of a study; returns their table in plain text.

    Args:
        folder: The study's folder.
        header: Its header.

    Returns:
        The table; empty where nothing was trained again.
    """
    candidates = load_list(folder)
    finals = [_final(folder, candidate) for candidate in candidates]
    best = best_final(finals)
    if best is None:
        return ""
    baselines = {
        short: candidate.name
        for short, start in BASELINES.items()
        for candidate in candidates
        if any(name.startswith(start) for name in candidate.names)
    }
    table = finals_table(header, finals, baselines)
    write_text(folder / "table.tex", as_latex(table))
    write_text(folder / "best.yaml", finals_yaml(header, best))
    return as_text(table)


def _final(folder: Path, candidate: Candidate) -> Final:
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
