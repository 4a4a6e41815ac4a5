"""Prints a profile: the neutral table of `acmix_nas.report.table`, with what each number cannot be read without."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from acmix_nas.cli import profile_notes
from acmix_nas.cli.paper_table import paper_table
from acmix_nas.cli.say import say
from acmix_nas.cli.where_table import where_table
from acmix_nas.cost.compare import Ratio
from acmix_nas.report import escape
from acmix_nas.report import table as tables
from acmix_nas.report.latex import as_latex
from acmix_nas.report.table import NOTHING, Cell, Column, Table

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A column of the table.

    Attributes:
        column: Its heading.
        text: What people see of a row; "" for nothing.
        value: The key of the value for programs; the column's own key if "".
        screen: 0 if a terminal always shows it; the higher, the sooner it is left out where width is scarce; None if
            only CSV has it.
    """

    column: Column
    text: Callable[[Row], str]
    value: str = ""
    screen: int | None = 0


def print_result(result: Mapping[str, Any], form_at: str | None) -> None:
    """Prints the table of a profile, and where parameters, multiply-adds and time go, if that was asked.

    Args:
        result: Of `acmix_nas.cost.profile.profile_rows`.
        form_at: "rich", "plain", "markdown", "latex" or "csv"; None for rich on a terminal, else plain.
    """
    form_at = form_at or ("rich" if sys.stdout.isatty() else "plain")
    shown = [each for each in _columns(result) if any(each.text(row) for row in result["rows"])]
    if form_at == "rich":
        _print_rich(result, shown)
    else:
        screen = shown if form_at == "csv" else [each for each in shown if each.screen is not None]
        say(_rendered(main_table(result, screen), form_at))
    for lines in result.get("where", ()):
        table = paper_table(lines) if lines["by"] == "paper" else where_table(lines, result["env"]["mode"])
        _print_one(table, form_at)


def main_table(result: Mapping[str, Any], shown: Sequence[Shown]) -> Table:
    """The table of a profile with some of its columns."""
    title, notes = profile_notes.heading(result), profile_notes.notes_of(result)
    rows = tuple(tuple(_cell(each, row) for each in shown) for row in result["rows"])
    columns = tuple(each.column for each in shown)
    return Table(name="profile", title=title, columns=columns, rows=rows, caption=f"{title}.", notes=notes)


def _print_rich(result: Mapping[str, Any], shown: Sequence[Shown]) -> None:
    """Leaves out columns, least needed first, until the table fits the terminal."""
    from acmix_nas.cli.console import results

    console, left_out = results(), []
    unbounded = console.options.update(max_width=10_000)
    screen = [each for each in shown if each.screen is not None]
    while True:
        rich = tables.as_rich(replace(main_table(result, screen), title="", notes=()))
        spare = max((each for each in screen if each.screen), key=lambda each: each.screen or 0, default=None)
        if spare is None or console.measure(rich, options=unbounded).maximum <= console.width:
            break
        screen.remove(spare)
        left_out.append(spare.column.title)
    table = main_table(result, screen)
    if left_out:
        note = f"No room here for: {', '.join(reversed(left_out))}; --format csv and --json have them."
        table = replace(table, notes=(*table.notes, note))
    console.print(tables.as_rich(table))


def _print_one(table: Table, form_at: str) -> None:
    say()
    if form_at == "rich":
        from acmix_nas.cli.console import results

        results().print(tables.as_rich(table))
    else:
        say(_rendered(table, form_at))


def _rendered(table: Table, form_at: str) -> str:
    if form_at == "markdown":
        return f"{escape.markdown(table.title)}\n\n{tables.as_markdown(table)}"
    render = {"plain": tables.as_text, "latex": as_latex, "csv": tables.as_csv}[form_at]
    return render(table).rstrip("\n")


def _cell(shown: Shown, row: Row) -> Cell:
    text = shown.text(row)
    return Cell(text, row.get(shown.value or shown.column.key)) if text else NOTHING


def _number(key: str, unit: float, form: str) -> Callable[[Row], str]:
    return lambda row: "" if row.get(key) is None else format(row[key] / unit, form)


def _ratio(row: Row) -> str:
    if row["difference"] is None:
        return "1"
    return str(Ratio(ratio=row["ratio"], low=row["ratio_low"], high=row["ratio_high"], difference=row["difference"]))


def _agree(row: Row) -> str:
    unknown = "cannot tell" if row["agree_reason"] else ""
    return {True: "yes", False: "no", None: unknown}[row["agree"]]


def _batch(row: Row) -> str:
    asked, ran = row["requested_batch_size"], row["batch_size"]
    return str(ran) if ran == asked else f"{ran} (of {asked})"


def _columns(result: Mapping[str, Any]) -> list[Shown]:
    rows = result["rows"]
    compared = any(row["difference"] for row in rows)
    several = len({row["model"] for row in rows}) > 1
    told = all((row["impl"] or "") in row["model"] for row in rows)
    return [
        _words("model", shown=several),
        _words("impl", shown=not told),
        _words("form", shown=False),
        Shown(column=Column(key="batch_size", title="batch", numeric=True), text=_batch),
        _numeric("params", "params (M)", 1e6, ".2f"),
        _numeric("macs", "MACs (G)", 1e9, ".3f"),
        _numeric("flops", "FLOPs (G)", 1e9, ".3f"),
        _numeric("macs_deploy", "deploy MACs (G)", 1e9, ".3f", screen=5, printed=False),
        _numeric("macs_fvcore", "fvcore MACs (G)", 1e9, ".3f", screen=6, printed=False),
        _numeric("macs_torch", "torch MACs (G)", 1e9, ".3f", screen=7, printed=False),
        Shown(
            column=Column(key="agree", title="counts agree", printed=False),
            text=_agree,
            screen=5,
        ),
        _words("agree_reason", shown=False),
        _numeric("macs_unseen", "unseen MACs (G)", 1e9, ".3f", screen=None),
        _numeric("activations", "activations (M)", 1e6, ".2f", screen=None),
        _numeric("latency_ms", "latency (ms)", 1, ".2f"),
        _numeric("latency_table_ms", "latency by table (ms)", 1, ".2f"),
        _numeric("latency_iqr_ms", "IQR (ms)", 1, ".2f", screen=2),
        _numeric("latency_min_ms", "min (ms)", 1, ".2f", screen=None),
        _numeric("latency_p95_ms", "p95 (ms)", 1, ".2f", screen=None),
        _numeric("throughput", "throughput (img/s)", 1, ".1f"),
        _numeric("peak_memory_mb", "peak memory (MB)", 1, ".1f", screen=3),
        _numeric("compile_s", "compile (s)", 1, ".1f"),
        _numeric("graph_breaks", "graph breaks", 1, "d"),
        Shown(
            column=Column(key="repetitions", title="rounds (ended by)", printed=False),
            text=lambda row: f"{row['repetitions']} ({row['stopped_by']})",
            screen=4,
        ),
        Shown(
            column=Column(key="ratio", title="time / first", short="time ratio"),
            text=lambda row: _ratio(row) if compared else "",
        ),
        *(_numeric(key, key.replace("_", " "), 1, ".4f", screen=None) for key in ("ratio_low", "ratio_high")),
        _words("difference", shown=False),
    ]


def _words(key: str, *, shown: bool) -> Shown:
    return Shown(column=Column(key=key, title=key), text=lambda row: row[key] or "", screen=0 if shown else None)


def _numeric(key: str, title: str, unit: float, form: str, *, screen: int | None = 0, printed: bool = True) -> Shown:
    shown = printed and screen is not None
    column = Column(key=key, title=title, numeric=True, printed=shown)
    text = (lambda row: "" if row.get(key) is None else str(row[key])) if form == "d" else _number(key, unit, form)
    return Shown(column=column, text=text, screen=screen)
