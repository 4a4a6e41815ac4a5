"""`acmix status`: how studies stand, narrow enough for a telephone."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acmix_nas.cli import _options
from acmix_nas.cli._say import say, time_text

if TYPE_CHECKING:
    from acmix_nas.experiments.status import Standing

WIDTH = 40
"""Columns that everything fits in."""


@click.command(cls=_options.RenamingCommand, renamed={"--out": "--reports"})
@click.argument("study", required=False)
@_options.reports
@_options.storage
@_options.json
def status(study: str | None, reports: Path, storage: str | None, as_json: bool) -> None:
    """Show the progress of a study, or of all studies in --reports.

    STUDY is the name of a study in --reports, or the path of its folder. The output fits 40 columns.

    \b
    Examples:
      acmix status
      acmix status swin_t-001
      watch acmix status swin_t-001
    """
    from acmix_nas.experiments.status import standing, standings

    if study:
        found = standing(study, reports=reports, storage=storage)
        say(json.dumps(found.to_dict()) if as_json else "\n".join(_lines(found)))
        return
    all_found = standings(reports=reports, storage=storage)
    if as_json:
        say(json.dumps([item.to_dict() for item in all_found]))
        return
    say("\n".join(_line(item) for item in all_found) if all_found else f"no study in {reports} yet")
    for item in all_found:
        if item.error:
            say(f"{item.name} cannot be read: {item.error}", err=True)


def _lines(standing: "Standing") -> list[str]:
    """A study in lines of name and value."""
    counts = [f"{standing.counts[name]} {name}" for name in ("paused", "pruned", "failed") if standing.counts.get(name)]
    rows = [
        ("state", standing.state),
        ("trials", f"{standing.ended} of {standing.goal or '?'}"),
        *(("", text) for text in counts),
        *([("best", standing.best_text)] if standing.best else []),
        ("front", f"{standing.front} networks"),
        *(("now", f"trial {now['number']}, epoch {now['epoch']} of {now['epochs']}") for now in standing.now),
        *([("left", time_text(standing.left_s))] if standing.left_s is not None else []),
    ]
    return [_cut(standing.name, WIDTH), *(_cut(f"{name:<7} {value}", WIDTH) for name, value in rows)]


def _line(standing: "Standing") -> str:
    """A study in one line."""
    best = f"{standing.best[0]:.3f}" if standing.best else "-"
    counted = f"{standing.ended}/{standing.goal or '?'}"
    return f"{_cut(standing.name, 17):<17} {standing.state:<7} {counted:>7} {best:>5}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}~"
