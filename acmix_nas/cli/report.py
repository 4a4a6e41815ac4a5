"""`acmix report`: a study's files again, from what is stored."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from acmix_nas.cli._options import json_option, out_option, storage_option
from acmix_nas.cli._say import say
from acmix_nas.errors import DiskError
from acmix_nas.study.folder import find_folder

if TYPE_CHECKING:
    from acmix_nas.record import StudyHeader, TrialRecord
    from acmix_nas.report import View

Command = TypeVar("Command", bound=Callable[..., Any])

_VIEW_OPTIONS = [
    click.option(
        "--columns",
        metavar="A,B,C",
        help="Columns of the table, in this order. An unknown one lists those there are.",
    ),
    click.option(
        "--compare",
        type=click.Choice(["published"]),
        help="Put the paper's params, MACs and top-1 beside the measured ones, marked as published.",
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice(["rich", "plain", "markdown", "latex", "html", "csv", "json"]),
        help="Form of the table on stdout.  [default: rich on a terminal, plain in a pipe]",
    ),
]


def view_options(command: Command) -> Command:
    """Options of how a table is shown; the command gets them as `view`, fields of `acmix_nas.report.View`."""

    @wraps(command)
    def wrapped(*args: Any, columns: str | None, compare: str | None, form: str | None, **values: Any) -> Any:
        keys = tuple(key.strip() for key in columns.split(",") if key.strip()) if columns else ()
        return command(*args, view={"columns": keys, "compare": compare, "form": form}, **values)

    for option in reversed(_VIEW_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def parse_formats(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Forms of pictures with commas between."""
    forms = tuple(part.strip() for part in text.split(",")) if text else ()
    wrong = [form for form in forms if form not in ("svg", "pdf", "png")]
    if wrong:
        raise click.BadParameter(f"pictures are svg, pdf or png, with commas between; {wrong[0]!r} is none of them.")
    return forms


@click.command()
@click.argument("studies", metavar="STUDY...", nargs=-1, required=True)
@view_options
@click.option(
    "--figures",
    metavar="svg,pdf,png",
    callback=parse_formats,
    help="Also write pictures for a paper into figures/ in these forms.",
)
@click.option("--open", "opens", is_flag=True, help="Open report.html in the browser.")
@out_option
@storage_option
@json_option
def report(
    studies: tuple[str, ...],
    view: dict[str, Any],
    figures: tuple[str, ...],
    opens: bool,
    out: Path,
    storage: str | None,
    as_json: bool,
) -> None:
    """Render a study's report again from what is stored, or compare several studies.

    STUDY is the name of a study in --out, or the path of its folder. Writes report.html, report.md, table.tex,
    trials.csv, trials.jsonl, pareto.svg and best.yaml into the folder and prints the table. Trains nothing.

    Several studies are rendered together, into a folder of --out named after them. They need the same data, split,
    proxy, budget and input size of the costs; otherwise the command says what differs.

    \b
    Examples:
      acmix report swin_t-001 --open
      acmix report combine-001 --columns row,mean,difference,params --format latex
      acmix report combine-001 --compare published
      acmix report swin_t-001 swin_t-002
      acmix report combine-001 --figures pdf
      acmix report swin_t-001 --json | jq .front
    """
    from acmix_nas.report import View, render, render_together
    from acmix_nas.report.fresh import stored_finals
    from acmix_nas.report.table import as_text
    from acmix_nas.study.study import load

    named = {} if storage is None else {"storage": storage}
    shown, folders = View(**view), [find_folder(study, out) for study in studies]
    files, unwritten = [], None
    if len(folders) == 1:
        folder = folders[0]
        header, records = load(folder, **named)
        fresh = stored_finals(folder, header)
        try:
            files = render(folder, header, records, shown, figures=figures or None)
        except DiskError as error:  # what is only looked at needs no room, and no right to write
            unwritten = error
    else:
        loaded, fresh = [load(each, **named) for each in folders], None
        folder, header, records = render_together(out, loaded, shown, figures=figures or None)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
    if as_json:
        say(json.dumps(_as_json(header, records, files, shown), allow_nan=False))
    else:
        print_table(header, records, shown)
        say(f"\n{as_text(fresh.table)}" if fresh else "", nl=fresh is not None)
        say("\n" + "\n".join(str(file) for file in files), err=shown.form is not None)
    if unwritten is not None:
        if not as_json or figures:
            raise unwritten
        say(f"Nothing was written: {unwritten}", err=True)
    if opens:
        click.launch((folder / "report.html").resolve().as_uri())


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


def _as_json(
    header: "StudyHeader", records: "Sequence[TrialRecord]", files: Sequence[Path], view: "View"
) -> dict[str, object]:
    from acmix_nas.front import front
    from acmix_nas.report import study_table
    from acmix_nas.report.table import as_json

    return {
        "header": header.to_dict(),
        "records": [record.to_dict() for record in records],
        "front": [record.number for record in front(records, header.measures)],
        "table": json.loads(as_json(study_table(header, records, view))),
        "files": [str(file) for file in files],
    }
