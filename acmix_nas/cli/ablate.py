"""`acmix ablate`: a table of networks, each row trained with paired seeds."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmix_nas.cli._next_command import path_word, typed
from acmix_nas.cli._options import command_line, plugin_option, study_options
from acmix_nas.cli.report import view_options
from acmix_nas.errors import AcmixError
from acmix_nas.study.folder import find_folder

if TYPE_CHECKING:
    from rich.console import Console

    from acmix_nas.experiments.ablation import Ablation
    from acmix_nas.experiments.ablation.reuse import Source
    from acmix_nas.search import Study
    from acmix_nas.train import Setting


@click.command()
@click.argument("table", metavar="NAME|FILE")
@click.option(
    "--base",
    metavar="ARCH",
    help="Network that the rows change: a timm name, a best.yaml, STUDY:TRIAL, or a first network of the space "
    '("paper", "plain host"). Default: the table\'s own.',
)
@click.option(
    "--host",
    help="Host or space to make the table for; mixers of another host are carried there stage by stage, and what "
    "cannot be carried is listed. Default: the host of --base, else the table's own.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    help="Seeds of each row; with --resume the total.  [default: the table's, mostly 3; with --resume what was asked "
    "before]",
)
@click.option(
    "--reuse",
    multiple=True,
    metavar="STUDY",
    help="Take cells that this study has trained with the same network, data, budget, seeds and versions. Repeatable.",
)
@view_options
@plugin_option
@study_options
def ablate(
    table: str,
    base: str | None,
    host: str | None,
    seeds: int | None,
    reuse: tuple[str, ...],
    view: Mapping[str, Any],
    as_json: bool,
    **asked: Any,
) -> int:
    """Train the rows of an ablation table with paired seeds and render it.

    NAME is a table of the package: combine, conv_on, heads, kernel, neighbours, path, placement, shift or window; FILE
    is a YAML file of your own (docs/ablate.md). Scores are read on the report split, which no search reads. More seeds
    or rows later (--resume) train only the new cells.

    \b
    Examples:
      acmix ablate combine
      acmix ablate kernel --host resnet --seeds 5 --epochs 4
      acmix ablate neighbours --base reports/demo/best.yaml
      acmix ablate shift --study shift-001 --resume --seeds 10 --reuse combine-001
    """
    ablation = _load(table, base, host, asked["out"])
    if not asked["resume"]:
        asked = _with_budget(asked, ablation.budget)

    # What follows loads torch, which takes seconds: a wrong file is told before.
    from acmix_nas.cli._console import progress
    from acmix_nas.cli._study import run_study
    from acmix_nas.data import absolute
    from acmix_nas.experiments.ablation.run import ablate as run
    from acmix_nas.report import View

    console = progress()
    for note in ablation.notes:
        console.print(note, soft_wrap=True)
    study, setting = _open(ablation, asked, console, seeds=seeds or ablation.seeds)
    seeds = seeds or _asked_seeds(study) or ablation.seeds
    try:
        sources = _checked(ablation, setting, reuse, asked["out"])
    except AcmixError:
        if not asked["resume"]:
            _discard(study)
        raise
    return run_study(
        study,
        setting,
        console,
        asked={"seeds": seeds, **({"data": absolute(asked["data"])} if asked["data"] else {})},
        total=seeds * len(ablation.rows),
        again=["ablate", path_word(table), *typed(("base", "host"))],
        places=typed(("device", "plugin", "reuse", "columns", "compare", "form")),
        more=["--seeds", str(2 * seeds)],
        as_json=as_json,
        view=View(**view),
        run=lambda callbacks: run(study, ablation, setting, seeds=seeds, callbacks=callbacks, sources=sources),
    )


def _load(table: str, base: str | None, host: str | None, out: Path) -> "Ablation":
    """The table; a base is looked for among the first networks of its space before it is one from elsewhere."""
    from acmix_nas.experiments.ablation import load_ablation, table_space
    from acmix_nas.experiments.networks import find_arch

    if base is None or base in table_space(table, host=host).first:
        return load_ablation(table, base=base, host=host)
    return load_ablation(table, base=find_arch(base, out).arch, host=host)


def _with_budget(asked: dict[str, Any], budget: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, and what the table's file says where nothing was."""
    names = {"proxy": "proxy", "epochs": "epochs", "proxy_images": "images"}
    said = {name: budget.get(key) for name, key in names.items() if asked[name] is None}
    return {**asked, **said}


def _asked_seeds(study: "Study") -> int | None:
    """Seeds that were asked for before; 0.1 kept only the number of cells."""
    asked, goal, rows = study.asked.get("seeds"), study.kept("goal"), len(study.header.rows)
    if isinstance(asked, int) or not isinstance(goal, int):
        return asked
    return goal // rows or None


def _open(ablation: "Ablation", asked: dict[str, Any], console: "Console", *, seeds: int) -> tuple["Study", "Setting"]:
    """The study of the table, made or resumed."""
    from acmix_nas.cli._decoding import decoding
    from acmix_nas.experiments.setup import Asked, open_study

    with decoding(console) as on_image:
        return open_study(
            Asked(**asked),
            ablation.space,
            kind="ablate",
            name=ablation.name,
            baseline=ablation.baseline,
            rows=tuple(ablation.rows),
            fixed={},
            kept={
                "rows": {name: arch.to_dict() for name, arch in ablation.rows.items()},
                "base": ablation.base.to_dict(),
                "notes": list(ablation.notes),
            },
            command=command_line(),
            goal={"seeds": seeds},
            progress=on_image,
        )


def _checked(ablation: "Ablation", setting: "Setting", reuse: Sequence[str], out: Path) -> list["Source"]:
    """The studies that cells are taken from, once every row is known to build."""
    from acmix_nas.experiments.ablation.reuse import open_source
    from acmix_nas.experiments.ablation.run import check_rows
    from acmix_nas.study.study import load

    check_rows(ablation, setting)
    return [open_source(*load(find_folder(name, out)), setting) for name in reuse]


def _discard(study: "Study") -> None:
    """Takes a study without trials away again, so that its name is free for the next try."""
    from acmix_nas.study.folder import DATABASE
    from acmix_nas.study.lock import LOG

    (study.folder / DATABASE).unlink()
    log = study.folder / LOG
    with suppress(OSError):  # other files lie there
        if not log.stat().st_size:
            log.unlink()
        study.folder.rmdir()
