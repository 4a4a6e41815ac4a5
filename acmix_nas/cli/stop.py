"""`acmix stop`: ask the process at work on a study to end, with everything kept."""

import time
from pathlib import Path

import click

from acmix_nas.cli import _options
from acmix_nas.cli._say import say

LOOK_EVERY_S = 0.5


@click.command(cls=_options.RenamingCommand, renamed={"--out": "--reports"})
@click.argument("study")
@_options.reports
@click.option("--wait", is_flag=True, help="Return only when the study has stopped.")
def stop(study: str, reports: Path, wait: bool) -> None:
    """Stop a study after the current epoch and keep every trial.

    STUDY is the name of a study in --reports, or the path of its folder. The command works from any terminal or
    machine that can read the folder. Continue later with --resume.

    \b
    Examples:
      acmix stop swin_t-001
      acmix stop swin_t-001 --wait
    """
    from acmix_nas.study.folder import STOP, find_folder, has_study, is_at_work

    folder = find_folder(study, reports, "--reports")
    if not has_study(folder) or not is_at_work(folder):
        say(f"no process is working on {folder}; there is nothing to stop.")
        return
    (folder / STOP).touch()
    say(f"{folder} stops after its current epoch.", err=True)
    while wait and is_at_work(folder):
        time.sleep(LOOK_EVERY_S)
    if wait:
        say(f"{folder} has stopped.")
