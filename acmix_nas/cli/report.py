"""`acmix report`: a study's files again, from what is stored."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from acmix_nas.cli.options import json_option, out_option
from acmix_nas.errors import StudyError
from acmix_nas.record import StudyHeader, TrialRecord


@click.command()
@click.argument("study")
@out_option
@json_option
def report(study: str, out: Path, as_json: bool) -> None:
    """Render a study's report again from what is stored.

    STUDY is the name of a study in --out, or the path of its folder. Writes report.html, report.md, table.tex,
    trials.csv, trials.jsonl, pareto.svg and best.yaml into the folder and prints the table. Trains nothing.

    \b
    Examples:
      acmix report swin_t-001
      acmix report /shared/runs/combine-003
      acmix report swin_t-001 --json | jq .front
    """
    from acmix_nas.cli.final_report import show_finals
    from acmix_nas.report import render
    from acmix_nas.search.study import load

    folder = find_folder(study, out)
    header, records = load(folder)
    files = render(folder, header, records)
    finals = show_finals(folder, header)
    if as_json:
        click.echo(json.dumps(_as_json(header, records, files), allow_nan=False))
    else:
        _print_table(header, records)
        click.echo(f"\n{finals}" if finals else "", nl=bool(finals))
        click.echo("\n" + "\n".join(str(file) for file in files))


def find_folder(study: str, out: Path, option: str = "--out") -> Path:
    """The folder of a study: its name in `out`, or a path.

    Args:
        study: The name or path.
        out: Folder of study folders.
        option: The option that names `out`, for the message.

    Raises:
        StudyError: There is no such folder; the message lists those there are.
    """
    for folder in (out / study, Path(study)):
        if study and folder.is_dir():
            return folder
    have = sorted(folder.name for folder in out.glob("*") if folder.is_dir())
    known = f"there are {', '.join(have)}" if have else "there is none yet: run acmix search or acmix ablate"
    raise StudyError(f"there is no study {study!r} in {out}; {known}. Another folder is named with {option}.")


def _print_table(header: StudyHeader, records: Sequence[TrialRecord]) -> None:
    from acmix_nas.report import ablation_table, search_table, table_text

    if not sys.stdout.isatty():
        click.echo(table_text(header, records))
        return
    from acmix_nas.cli.console import results

    results().print((search_table if header.kind == "search" else ablation_table)(header, records))


def _as_json(header: StudyHeader, records: Sequence[TrialRecord], files: Sequence[Path]) -> dict[str, object]:
    from acmix_nas.report import front

    return {
        "header": header.to_dict(),
        "records": [record.to_dict() for record in records],
        "front": [record.number for record in front(records)],
        "files": [str(file) for file in files],
    }
