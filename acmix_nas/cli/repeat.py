"""`acmix repeat`: a recorded trial once more, from its record."""

import json
from typing import Any

import click

from acmix_nas.cli import _options
from acmix_nas.cli._say import say, say_renamed


@click.command(cls=_options.RenamingCommand, renamed={"--out": "--reports"})
@click.argument("trial", metavar="STUDY:TRIAL")
@click.argument("number", required=False, type=click.IntRange(min=0), metavar="")
@_options.moved_data
@_options.stored_task
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Device to train on.  [default: the kind of device in the record]",
)
@_options.reports
@_options.storage
@_options.plugin
@_options.json
def repeat(trial: str, number: int | None, as_json: bool, **options: Any) -> int:
    """Train a stored trial again with its seeds and compare the scores.

    STUDY is the name of a study in --reports or the path of its folder, TRIAL a number in it. The exit code is 0 if
    every score is equal, or if the difference is one that two trainings show by chance (the 95 % interval is printed),
    else 1. Nothing is stored.

    \b
    Examples:
      acmix repeat swin_t-001:7
      acmix repeat combine-001:0 --data /data/imagenet
    """
    if number is not None:
        say_renamed("STUDY TRIAL", f"STUDY:TRIAL, here {trial}:{number}")
        trial = f"{trial}:{number}"
    from acmix_nas.cli._display import TrainingDisplay
    from acmix_nas.experiments.repeat import RepeatOptions, run

    with TrainingDisplay() as display:
        result = run(RepeatOptions(trial=trial, **options), display)
    for name, (then, now) in result.changed.items():
        say(f"{name} was {then}, is {now}", err=True)
    if as_json:
        say(json.dumps(result.to_dict()))
    else:
        say(f"{result.study}, trial {result.record.number}, {result.record.label}: {result.comparison.message}")
    return 0 if result.comparison.within else 1
