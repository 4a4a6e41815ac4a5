"""What commands about studies print alike: the table, one JSON object, the commands to run next."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmix_nas.cli import _options
from acmix_nas.cli._next_command import command, out_words, path_word, storage_words, study_words
from acmix_nas.cli._say import say

if TYPE_CHECKING:
    from acmix_nas.experiments.running import StudyResult
    from acmix_nas.record import StudyHeader, TrialRecord
    from acmix_nas.report import View

FAILED_TRIALS = 3
INTERRUPTED = 130
Command = Callable[..., Any]

_view_options = _options.together(
    click.option(
        "--columns",
        metavar="A,B,C",
        help="Columns of the table, in this order. An unknown name prints the list of columns.",
    ),
    click.option(
        "--compare",
        type=click.Choice(["published"]),
        help="Add the paper's params, MACs and top-1 to the table, marked as published.",
    ),
    click.option(
        "--format",
        "form_at",
        type=click.Choice(["rich", "plain", "markdown", "latex", "html", "csv", "json"]),
        help="Format of the table on stdout.  [default: rich on a terminal, plain in a pipe]",
    ),
)


def view_options(command: Command) -> Command:
    """Options of how a table is shown; the command gets them as `view`."""

    @_view_options
    @wraps(command)
    def wrapped(*args: Any, columns: str | None, compare: str | None, form_at: str | None, **values: Any) -> Any:
        from acmix_nas.report import View

        keys = tuple(key.strip() for key in columns.split(",") if key.strip()) if columns else ()
        return command(*args, view=View(columns=keys, compare=compare, form=form_at), **values)

    return wrapped


def exit_code(result: "StudyResult") -> int:
    """0 done, 3 done with failed trials, 130 interrupted."""
    return INTERRUPTED if result.interrupted else FAILED_TRIALS if result.failed else 0


def print_study(
    result: "StudyResult",
    view: "View",
    *,
    again: Sequence[str],
    places: Sequence[str],
    more: Sequence[str],
    as_json: bool,
) -> int:
    """Prints what a study has, and how it goes on; returns the exit code.

    Args:
        result: What came of it.
        view: How the table is shown.
        again: Words of the command that goes on with it, without its name.
        places: Options of that command that the study does not keep: where it trains, what is shown.
        more: Options that let it grow.
        as_json: Whether the results are one JSON object.
    """
    from acmix_nas.report.trials import pruning_text

    header, records, folder = result.header, result.records, result.folder
    if as_json:
        say(json.dumps(study_facts(header, records, folder, result.files, view)))
    else:
        print_table(header, records, view)
    failed = result.failed
    lines = [f"{len(failed)} of {len(records)} trials failed; the first: {failed[0].error}"] if failed else []
    lines += ["", f"written to {folder}: {', '.join(sorted(file.name for file in result.files))}"]
    lines += pruning_text(records)
    resume = [*again, "--study", folder.name, *out_words(folder.parent), "--resume", *places]
    if result.stopped:
        lines += [f"stopped ({result.stopped}); all finished work is kept. Continue with:", f"  {command(*resume)}"]
    else:
        lines += ["next:", f"  {command('report', *study_words(folder), *storage_words())}"]
        if (folder / "best.yaml").is_file():
            lines.append(f"  {command('profile', path_word(folder / 'best.yaml'), '--impl', 'all')}")
        lines.append(f"  {command(*resume, *more)}")
    for line in lines:
        say(line, err=True)
    return exit_code(result)


def study_facts(
    header: "StudyHeader", records: "Sequence[TrialRecord]", folder: Path, files: Sequence[Path], view: "View"
) -> dict[str, Any]:
    """The JSON object of every command that prints a study: the same keys everywhere."""
    from acmix_nas.front import front
    from acmix_nas.report import study_table
    from acmix_nas.report.table import as_json

    return {
        "study": header.to_dict(),
        "folder": str(folder),
        "front": [record.number for record in front(records, header.measures)],
        "trials": [record.to_dict() for record in records],
        "table": json.loads(as_json(study_table(header, records, view))),
        "files": [str(file) for file in files],
    }


def print_table(header: "StudyHeader", records: "Sequence[TrialRecord]", view: "View") -> None:
    """Prints a study's table on stdout as the view says."""
    from acmix_nas.report import study_table
    from acmix_nas.report.table import as_rich
    from acmix_nas.report.view import FORMS

    table = study_table(header, records, view)
    form = view.form or ("rich" if sys.stdout.isatty() else "plain")
    if form == "rich":
        from acmix_nas.cli._console import results

        results().print(as_rich(table))
    else:
        say(FORMS[form](table))
