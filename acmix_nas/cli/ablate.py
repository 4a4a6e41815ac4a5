"""`acmix ablate`: a table of networks, each row trained with paired seeds."""

from typing import TYPE_CHECKING, Any

import click

from acmix_nas.cli import _options
from acmix_nas.cli._next_command import PLACES, path_word, storage_words, typed
from acmix_nas.cli._study import print_study, view_options

if TYPE_CHECKING:
    from acmix_nas.report import View


@click.command()
@click.argument("table", metavar="NAME|FILE")
@click.option(
    "--base",
    metavar="ARCH",
    help="Network that the rows change: a timm name, a best.yaml, STUDY:TRIAL, or a first network of the space "
    '("paper", "plain host"). Default: the table\'s base.',
)
@click.option(
    "--host",
    help="Host or space to build the table for. A base from another host is transferred stage by stage, and what "
    "cannot be transferred is listed. Default: the host of --base, or the table's own.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    help="Number of seeds of each row; with --resume the total.  [default: the table's, mostly 3; with --resume as "
    "before]",
)
@click.option(
    "--reuse",
    multiple=True,
    metavar="STUDY",
    help="Reuse cells that this study trained with the same network, data, budget, seeds and versions. Repeatable.",
)
@click.option(
    "--throughput/--no-throughput",
    default=True,
    help="Time the full networks of the rows when all seeds are trained.",
)
@view_options
@_options.workers
@_options.plugin
@_options.study
def ablate(view: "View", as_json: bool, **options: Any) -> int:
    """Train the rows of an ablation table with the same seeds and render the table.

    NAME is a table of the package: combine, conv_on, heads, kernel, neighbours, path, placement, shift or window. FILE
    is your own YAML file (docs/ablate.md). Scores are read on the report split, which no search reads. If you add
    seeds or rows later (--resume), only the new cells train.

    \b
    Examples:
      acmix ablate combine
      acmix ablate kernel --host resnet --seeds 5 --epochs 4
      acmix ablate neighbours --base reports/demo/best.yaml
      acmix ablate shift --study shift-001 --resume --seeds 10 --reuse combine-001
    """
    _options.check_hidden(options["executor"], options["storage"])
    from acmix_nas.cli._display import StudyDisplay
    from acmix_nas.experiments.ablation import AblationOptions, run

    asked = AblationOptions(command=_options.kept_command_line(), columns=view.columns, compare=view.compare, **options)
    with StudyDisplay() as display:
        result = run(asked, display)
    return print_study(
        result,
        view,
        again=["ablate", path_word(asked.table), *typed(("base", "host"))],
        places=[*typed((*PLACES, "reuse", "columns", "compare", "form_at", "throughput")), *storage_words()],
        more=["--seeds", str(2 * result.study.asked["seeds"])],
        as_json=as_json,
    )
