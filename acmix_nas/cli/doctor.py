"""`acmix doctor`: what is installed, which devices there are, and whether they and the output folder work."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acmix_nas.cli import _options
from acmix_nas.cli._say import say, say_marked

if TYPE_CHECKING:
    from acmix_nas.experiments.doctor import Check


@click.command()
@_options.out
@_options.json
@click.pass_context
def doctor(context: click.Context, out: Path, as_json: bool) -> None:
    """Show versions, devices and disk, and check that they work. Exit code 1 means that something needed does not.

    \b
    Examples:
      acmix doctor
      acmix doctor --out /scratch/reports --json
    """
    from acmix_nas.experiments.doctor import run

    checks = list(run(out))
    if as_json:
        say(json.dumps({"checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            _print(check)
    if any(check.status == "failed" for check in checks):
        context.exit(1)


def _print(check: "Check") -> None:
    color = {"ok": "green", "warning": "yellow", "failed": "red"}[check.status]
    say_marked(f"{check.status:8}", f"{check.name}: {check.detail}", color=color)
    if check.fix:
        say(f"{'':8}fix: {check.fix}")
