"""report.md: the facts, the table and how to read it."""

from collections.abc import Sequence

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.escape import markdown
from acmix_nas.report.facts import embedded_note, facts, is_embedded
from acmix_nas.report.mattered import Mattered, tables
from acmix_nas.report.table import Table, as_markdown


def build(
    header: StudyHeader, records: Sequence[TrialRecord], table: Table, found: Mattered, finals: Table | None = None
) -> str:
    """The Markdown report of either kind of study, with the table of a search's finalists if it has some."""
    made = {"Command": header.command, "acmix-nas": header.version}
    lines = [f"- {name}: {markdown(text)}" for name, text in {**facts(header, records), **made}.items() if text]
    parts = [
        f"# {markdown(table.title)}",
        *([f"**{embedded_note(header)}**"] if is_embedded(records) else []),
        "\n".join(lines),
        as_markdown(table),
        f"![{header.metric.noun.capitalize()} of the trials](pareto.svg)",
        *([f"## {markdown(finals.title)}", as_markdown(finals)] if finals else []),
        *_mattered(found),
        *_failures(records),
    ]
    return "\n\n".join(parts) + "\n"


def _mattered(found: Mattered) -> list[str]:
    """What mattered, a table for each thing that is known."""
    if not found:
        return []
    parts = [[f"### {markdown(table.title)}", as_markdown(table)] for table in tables(found).values()]
    return ["## What mattered", *(text for part in parts for text in part)]


def _failures(records: Sequence[TrialRecord]) -> list[str]:
    failed = [record for record in records if record.status == "failed"]
    if not failed:
        return []
    lines = [f"- trial {item.number}, {markdown(item.label)}: {markdown(item.error or 'no reason')}" for item in failed]
    return ["## Failed trials", "\n".join(lines)]
