"""`acmix report`: a study's files again, from what is stored."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acmix_nas.cli import _options
from acmix_nas.cli._say import say
from acmix_nas.cli._study import print_table, study_facts, view_options
from acmix_nas.errors import DiskError
from acmix_nas.study.folder import find_folder

if TYPE_CHECKING:
    from acmix_nas.report import View


def parse_formats(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Forms of pictures with commas between."""
    forms = tuple(part.strip() for part in text.split(",")) if text else ()
    wrong = [form for form in forms if form not in ("svg", "pdf", "png")]
    if wrong:
        raise click.BadParameter(f"pictures are svg, pdf or png, separated by commas; {wrong[0]!r} is none of them.")
    return forms


@click.command()
@click.argument("studies", metavar="STUDY...", nargs=-1, required=True)
@view_options
@click.option(
    "--figures",
    metavar="svg,pdf,png",
    callback=parse_formats,
    help="Also write figures for a paper to figures/, in these formats.",
)
@click.option("--open", "opens", is_flag=True, help="Open report.html in the browser.")
@_options.out
@_options.storage
@_options.json
def report(
    studies: tuple[str, ...],
    view: "View",
    figures: tuple[str, ...],
    opens: bool,
    out: Path,
    storage: str | None,
    as_json: bool,
) -> None:
    """Render a study's report again from its stored records, or compare several studies.

    STUDY is the name of a study in --out, or the path of its folder. Writes report.html, report.md, table.tex,
    trials.csv, trials.jsonl, pareto.svg and best.yaml into the folder and prints the table. Trains nothing.

    Several studies are rendered together, in a folder of --out that is named after them. They must have the same data,
    split, proxy, budget and input size of the costs; otherwise the command says what differs.

    \b
    Examples:
      acmix report swin_t-001 --open
      acmix report combine-001 --columns row,mean,difference,params --format latex
      acmix report combine-001 --compare published
      acmix report swin_t-001 swin_t-002
      acmix report combine-001 --figures pdf
      acmix report swin_t-001 --json | jq .front
    """
    from acmix_nas.report import render, render_together
    from acmix_nas.report.finals import stored_finals
    from acmix_nas.report.table import as_text
    from acmix_nas.study import load

    named = {} if storage is None else {"storage": storage}
    folders = [find_folder(study, out) for study in studies]
    files, unwritten = [], None
    if len(folders) == 1:
        folder = folders[0]
        header, records = load(folder, **named)
        fresh = stored_finals(folder, header)
        try:
            files = render(folder, header, records, view, figures=figures or None)
        except DiskError as error:  # what is only looked at needs no room, and no right to write
            unwritten = error
    else:
        loaded, fresh = [load(each, **named) for each in folders], None
        folder, header, records = render_together(out, loaded, view, figures=figures or None)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
    if as_json:
        facts = study_facts(header, records, folder, files, view)
        facts |= {"header": facts["study"], "records": facts["trials"]}  # as they were called in 0.1
        say(json.dumps(facts, allow_nan=False))
    else:
        print_table(header, records, view)
        say(f"\n{as_text(fresh.table)}" if fresh else "", nl=fresh is not None)
        say("\n" + "\n".join(str(file) for file in files), err=view.form is not None)
    if unwritten is not None:
        if not as_json or figures:
            raise unwritten
        say(f"Nothing was written: {unwritten}", err=True)
    if opens:
        click.launch((folder / "report.html").resolve().as_uri())
