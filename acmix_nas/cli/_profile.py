"""What is seen of a profile and of a latency table: a bar while it is measured, then what came out."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from acmix_nas.cli import _console
from acmix_nas.cli._say import say
from acmix_nas.experiments.latency import LatencyOptions, run
from acmix_nas.experiments.profile import ProfileCallbacks
from acmix_nas.report import escape
from acmix_nas.report.profile.breakdown import paper_table, where_table
from acmix_nas.report.profile.table import Shown, columns_of, main_table
from acmix_nas.report.table import Table, as_rich
from acmix_nas.report.view import FORMS


class ProfileDisplay(ProfileCallbacks):
    """A bar on stderr with the time left; silent where stderr is no terminal."""

    def __init__(self) -> None:
        console = _console.progress()
        columns = (_console.text_column("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("building", total=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def warn(self, text: str) -> None:
        """Something makes the numbers worse than they could be."""
        say(f"Warning: {text}", err=True)

    def progress(self, text: str, done: float, total: float) -> None:
        """What is done now, and how much of all."""
        self._bar.start()
        self._bar.update(self._task, description=text, completed=done, total=total)


def build_latency_table(options: LatencyOptions, *, as_json: bool) -> None:
    """Measures a latency table, and says what was written and how far it can be believed."""
    with ProfileDisplay() as display:
        built = run(options, display).to_dict()
    if as_json:
        say(json.dumps(built, allow_nan=False))
        return
    say(
        f"{built['file']}: {built['blocks']} blocks of {built['space']} on {built['env']['device_name']}, "
        f"{built['env']['threads']} threads.\n{built['held_out']} other networks, measured as a whole and "
        f"compared with the table's sum: rank correlation (Spearman) {built['spearman']:.3f}, median error "
        f"{built['median_error']:.1%}, largest error {built['worst_error']:.1%}."
    )


def print_result(result: Mapping[str, Any], form_at: str | None) -> None:
    """Prints the table of a profile, and where parameters, multiply-adds and time go, if that was asked.

    Args:
        result: Of `acmix_nas.cost.profile.profile_rows`.
        form_at: "rich", "plain", "markdown", "latex" or "csv"; None for rich on a terminal, else plain.
    """
    form_at = form_at or ("rich" if sys.stdout.isatty() else "plain")
    shown = [each for each in columns_of(result) if any(each.text(row) for row in result["rows"])]
    if form_at == "rich":
        _print_rich(result, shown)
    else:
        screen = shown if form_at == "csv" else [each for each in shown if each.screen is not None]
        say(_rendered(main_table(result, screen), form_at))
    for lines in result.get("where", ()):
        table = paper_table(lines) if lines["by"] == "paper" else where_table(lines, result["env"]["mode"])
        say()
        if form_at == "rich":
            _console.results().print(as_rich(table))
        else:
            say(_rendered(table, form_at))


def _print_rich(result: Mapping[str, Any], shown: Sequence[Shown]) -> None:
    """Leaves out columns, least needed first, until the table fits the terminal."""
    console, left_out = _console.results(), []
    unbounded = console.options.update(max_width=10_000)
    screen = [each for each in shown if each.screen is not None]
    while True:
        rich = as_rich(replace(main_table(result, screen), title="", notes=()))
        spare = max((each for each in screen if each.screen), key=lambda each: each.screen or 0, default=None)
        if spare is None or console.measure(rich, options=unbounded).maximum <= console.width:
            break
        screen.remove(spare)
        left_out.append(spare.column.title)
    table = main_table(result, screen)
    if left_out:
        note = f"No room here for: {', '.join(reversed(left_out))}; --format csv and --json have them."
        table = replace(table, notes=(*table.notes, note))
    console.print(as_rich(table))


def _rendered(table: Table, form_at: str) -> str:
    title = f"{escape.markdown(table.title)}\n\n" if form_at == "markdown" else ""
    return title + FORMS[form_at](table).rstrip("\n")
