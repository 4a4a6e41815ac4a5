"""`acmix finalists`: the best of a search trained again, and what may be claimed of it."""

import json
from typing import TYPE_CHECKING, Any

import click

from acmix_nas.cli import _options
from acmix_nas.cli._next_command import PLACES, command, storage_words, study_words, typed
from acmix_nas.cli._say import say
from acmix_nas.cli._study import exit_code

if TYPE_CHECKING:
    from acmix_nas.experiments.finalists import FinalistsResult


@click.command()
@click.argument("study", metavar="STUDY")
@_options.count("--top", "Number of networks from the front.  [default: 5, or as before]")
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    help="Total number of fresh seeds of each network.  [default: 5, or as before]",
)
@_options.moved_data
@_options.stored_task
@_options.workers
@_options.out
@_options.device
@_options.plugin
@_options.json
def finalists(as_json: bool, **options: Any) -> int:
    """Train the best networks of a search again, with fresh seeds, and score them on the report split.

    STUDY is the name of a study in --out, or the path of its folder. The search never read the report split. The list
    of networks is fixed first: the --top best of the front, the plain host, the paper's network, and the best of 10
    random networks. Each is trained with the same fresh seeds and the full budget of the search; stored cells are not
    trained again. best.yaml and table.tex then use the fresh scores.

    \b
    Examples:
      acmix finalists swin_t-001
      acmix finalists swin_t-001 --top 3 --seeds 10
    """
    _options.check_hidden(options["executor"], options["storage"])
    from acmix_nas.cli._display import StudyDisplay
    from acmix_nas.experiments.finalists import FinalistsOptions, run
    from acmix_nas.report.table import as_text

    with StudyDisplay() as display:
        result = run(FinalistsOptions(**options), display)
    if as_json:
        say(json.dumps(_facts(result)))
    else:
        say(as_text(result.table) if result.table else "")
    written = ", ".join(sorted(file.name for file in result.files))
    say(f"\nwritten to {result.folder}: {written}", err=True)
    if result.stopped is not None:
        options_again = typed(("data", "hours", *PLACES))
        again = command("finalists", *study_words(result.folder), *options_again, *storage_words())
        say(f"stopped ({result.stopped}); all finished work is kept. Continue with:\n  {again}", err=True)
    return exit_code(result)


def _facts(result: "FinalistsResult") -> dict[str, Any]:
    """The keys of every command that prints a study, and the list; the trials are those of the finalists."""
    from acmix_nas.report.table import as_json

    return {
        "study": result.header.to_dict(),
        "folder": str(result.folder),
        "list": [candidate.to_dict() for candidate in result.candidates],
        "trials": [record.to_dict() for record in result.records],
        "table": json.loads(as_json(result.table)) if result.table else None,
        "files": [str(file) for file in result.files],
    }
