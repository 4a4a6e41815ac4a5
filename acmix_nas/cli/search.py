"""`acmix search`: a study over a space, from the first trial to its report."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmix_nas.cli.options import command_line, study_options

if TYPE_CHECKING:
    from acmix_nas.space import Space, Values


@click.command()
@click.option(
    "--space", "space_name", required=True, metavar="NAME|FILE", help="A name of `acmix spaces`, or a YAML file."
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Networks to train; with --resume the total.",
)
@click.option(
    "--first",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="best.yaml of another study, trained first. Repeatable.",
)
@study_options
def search(space_name: str, trials: int, first: tuple[Path, ...], as_json: bool, **asked: Any) -> int:
    """Search a space: train shrunken networks and keep those that nothing beats in accuracy and MACs.

    Ctrl-C keeps every finished trial; --resume goes on as if it had never stopped.

    \b
    Examples:
      acmix search --space swin_t
      acmix search --space swin_t --data ~/imagenet --proxy gpu --trials 100
      acmix search --space swin_t --study demo --resume --trials 24
    """
    from acmix_nas.space import load_space

    space = load_space(space_name)
    given = _given(space, first)

    # What follows loads torch, which takes seconds: a wrong file is told before.
    from acmix_nas.cli.console import progress
    from acmix_nas.cli.study import decoding, run_study
    from acmix_nas.search.run import search as run
    from acmix_nas.search.setup import Asked, open_study

    console = progress()
    with decoding(console) as on_image:
        study, setting = open_study(
            Asked(**asked),
            space,
            kind="search",
            name=space.name,
            fixed={"space": _definition(space)},
            kept={"random_starts": max(2, min(10, trials // 4)), "first": {**given, **space.first}},
            command=command_line(),
            progress=on_image,
        )
    space = replace(space, first=study.header.settings["first"])
    return run_study(
        study,
        setting,
        console,
        total=trials,
        again=f"acmix search --space {space_name}",
        more=f"--trials {2 * trials}",
        as_json=as_json,
        run=lambda watcher: run(study, space, setting, trials=trials, watcher=watcher),
    )


def _given(space: "Space", files: tuple[Path, ...]) -> dict[str, "Values"]:
    """Values of the networks that the user wants tried first."""
    from acmix_nas.space.arch_file import load_arch

    return {f"given: {file.parent.name or file.stem}": space.values(load_arch(file)) for file in files}


def _definition(space: "Space") -> dict[str, Any]:
    """What decides the networks of a space: a study cannot go on with another."""
    return {
        "host": space.host,
        "widths": list(space.widths),
        "depths": list(space.depths),
        "input_size": space.input_size,
        "conv_on": space.conv_on,
        "fixed": [dict(fields) for fields in space.fixed],
        "choices": {choice.name: asdict(choice) for choice in space.choices},
    }
