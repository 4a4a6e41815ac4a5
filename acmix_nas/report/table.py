"""One neutral table; the terminal, Markdown, LaTeX, CSV and HTML all show this one."""

import csv
import html
import io
import json
import textwrap
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from acmix_nas.metrics import COSTS
from acmix_nas.record import Cost
from acmix_nas.report import escape


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        key: Its name for programs: the heading in CSV.
        title: Its heading for people.
        short: A heading for narrow places; the caption says the rest.
        numeric: Whether its cells are aligned to the right.
        wrap: Whether its cells may break over lines.
        printed: Whether it is shown on paper, where width is scarce.
        paper_width: Share of a printed line that its cells break over; 0 for their own width.
        usual: Whether it is shown where no columns are named.
    """

    key: str
    title: str
    short: str = ""
    numeric: bool = False
    wrap: bool = False
    printed: bool = True
    paper_width: float = 0
    usual: bool = True

    @property
    def narrow_title(self) -> str:
        """The shortest heading."""
        return self.short or self.title


def numeric(key: str, title: str, short: str = "", *, usual: bool = True) -> Column:
    """A column of numbers."""
    return Column(key=key, title=title, short=short, numeric=True, usual=usual)


@dataclass(frozen=True, slots=True)
class Cell:
    """What people see, the value behind it for programs and sorting, and whether it stands out."""

    text: str
    value: str | int | float | None = None
    bold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns and rows of cells.

    Attributes:
        name: Short name of letters, digits and dashes; the label in LaTeX.
        title: One line above the table.
        columns: Its columns.
        rows: One cell for each column, in every row.
        caption: What was measured, on what, with what budget.
        notes: Sentences below the table.
        arch_ids: `Arch.id` of each row; empty where rows are no networks.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
    arch_ids: tuple[str | None, ...] = ()


NOTHING = Cell("-")
MINUS = "\N{MINUS SIGN}"


def cost_columns(size: str = "") -> tuple[Column, Column, Column]:
    """Columns of the counts of a network; `size` is what their headings add."""
    deployed = numeric("macs_deploy", f"deployed MACs G{size}", "deployed G")
    return numeric("params", "params M"), numeric("macs", f"MACs G{size}"), deployed


def cost_cells(cost: Cost | None) -> tuple[Cell, ...]:
    """The counts of a network as tables round them."""
    values = [(name, getattr(cost, name, None)) for name in ("params", "macs", "macs_deploy")]
    return tuple(NOTHING if value is None else Cell(COSTS[name].rounded_text(value), value) for name, value in values)


def as_rich(table: Table) -> RichTable:
    """The table for a terminal; no text in it is taken as markup."""
    title = Text(escape.plain(table.title), style="bold")
    notes = Text("\n".join(escape.plain(note) for note in table.notes))
    caption = notes if table.notes else None
    rich = RichTable(title=title, title_justify="left", caption=caption, caption_justify="left", box=box.SIMPLE_HEAD)
    rich.padding, rich.pad_edge = (0, 1, 0, 0), False
    for column in table.columns:
        heading = Text("\n".join(textwrap.wrap(column.narrow_title, 8, break_long_words=False)))
        justify: Literal["left", "right"] = "right" if column.numeric else "left"
        rich.add_column(heading, justify=justify, overflow="fold", no_wrap=not column.wrap)
    for row in table.rows:
        rich.add_row(*(Text(escape.plain(cell.text), style="bold" if cell.bold else "") for cell in row))
    return rich


def as_text(table: Table) -> str:
    """The table in plain aligned text, for a pipe."""
    heading = [column.narrow_title for column in table.columns]
    lines = [heading, *([escape.plain(cell.text) for cell in row] for row in table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
    aligned = [
        "  ".join(
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(line, widths, table.columns, strict=True)
        ).rstrip()
        for line in lines
    ]
    rule = "  ".join("-" * width for width in widths)
    notes = [escape.plain(note) for note in table.notes]
    return "\n".join([escape.plain(table.title), "", aligned[0], rule, *aligned[1:], *([""] if notes else []), *notes])


def as_markdown(table: Table) -> str:
    """The table and its notes in Markdown."""
    rule = ["---:" if column.numeric else "---" for column in table.columns]
    rows = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    lines = [[escape.markdown(column.title) for column in table.columns], rule, *rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([text, *(escape.markdown(note) for note in table.notes)])


def as_csv(table: Table) -> str:
    """The values of the table, the keys of its columns in the first line."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.key for column in table.columns])
    for row in table.rows:
        writer.writerow([escape.csv(cell.value) if isinstance(cell.value, str) else cell.value for cell in row])
    return stream.getvalue()


def as_json(table: Table) -> str:
    """The values of the table as one JSON object: title, caption, notes, columns, and a mapping for each row."""
    keys = [column.key for column in table.columns]
    rows = [
        {key: cell.value if cell.value is not None else _said(cell) for key, cell in zip(keys, row, strict=True)}
        for row in table.rows
    ]
    facts = {"title": table.title, "caption": table.caption, "notes": list(table.notes)}
    columns = [{"key": column.key, "title": column.title} for column in table.columns]
    return json.dumps({**facts, "columns": columns, "rows": rows}, allow_nan=False)


def as_html(table: Table) -> str:
    """A table element with caption and notes, to be put into a page; every text is escaped."""
    heading = "".join(f'<th scope="col"{_side(column)}>{_html(column.title)}</th>' for column in table.columns)
    lines = [
        "<tr>" + "".join(_html_cell(column, cell) for column, cell in zip(table.columns, row, strict=True)) + "</tr>"
        for row in table.rows
    ]
    body = "\n".join(f"    {line}" for line in lines)
    notes = "".join(f"\n<p>{_html(note)}</p>" for note in table.notes)
    caption = f"<caption>{_html(table.title)}. {_html(table.caption)}</caption>"
    return (
        f"<table>\n  {caption}\n  <thead><tr>{heading}</tr></thead>\n  <tbody>\n{body}\n  </tbody>\n</table>{notes}\n"
    )


def _said(cell: Cell) -> str | None:
    """What a cell without a value says; None if nothing."""
    return None if cell == NOTHING else cell.text


def _html(text: str) -> str:
    return html.escape(escape.plain(text))


def _side(column: Column) -> str:
    return ' style="text-align: right"' if column.numeric else ""


def _html_cell(column: Column, cell: Cell) -> str:
    text = _html(cell.text)
    return f"<td{_side(column)}>{f'<strong>{text}</strong>' if cell.bold else text}</td>"


def _markdown_cell(cell: Cell) -> str:
    text = escape.markdown(cell.text)
    return f"**{text}**" if cell.bold else text
