"""The table in LaTeX: booktabs rules, numbers aligned at the decimal point by siunitx."""

import re
import textwrap
from dataclasses import dataclass

from acmix_nas.report import escape
from acmix_nas.report.table import MINUS, Cell, Column, Table

_NUMBER = re.compile(r"([+-]?)(\d[\d,]*)(?:\.(\d+))?")


def as_latex(table: Table) -> str:
    r"""A table environment for a document with \usepackage{booktabs,siunitx}, siunitx 3."""
    places = [index for index, column in enumerate(table.columns) if column.printed]
    printed = [_Printed.of(table, index) for index in places]
    heading = " & ".join(column.heading for column in printed)
    rows = [
        " & ".join(column.cell(row[index]) for index, column in zip(places, printed, strict=True)) for row in table.rows
    ]
    caption = " ".join(escape.latex(text) for text in (table.caption, *table.notes) if text)
    lines = [
        "% needs \\usepackage{booktabs,siunitx} (siunitx 3)",
        "\\begin{table}",
        "  \\centering",
        "  \\footnotesize",
        "  \\setlength{\\tabcolsep}{2.4pt}",
        "  \\sisetup{mode=text, reset-text-series=false, retain-explicit-plus, group-digits=none}",
        f"  \\caption{{{caption}}}",
        f"  \\label{{tab:{table.name}}}",
        "  \\smallskip",
        f"  \\begin{{tabular}}{{@{{}}{''.join(column.align for column in printed)}@{{}}}}",
        "    \\toprule",
        f"    {heading} \\\\",
        "    \\midrule",
        *(f"    {row} \\\\" for row in rows),
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Printed:
    """A column on paper: as siunitx aligns it where it holds plain numbers, else to a side, or broken over lines."""

    column: Column
    aligned: str

    @classmethod
    def of(cls, table: Table, index: int) -> "_Printed":
        """How this column of a table is printed."""
        column = table.columns[index]
        numbers = [match for row in table.rows if (match := _number(row[index])) is not None]
        spread = any("±" in row[index].text for row in table.rows)
        if column.paper_width or not column.numeric or spread or not numbers:
            return cls(column, "")
        sign = "+" if any(match[1] for match in numbers) else ""
        whole = max(len(match[2].replace(",", "")) for match in numbers)
        digits = max(len(match[3] or "") for match in numbers)
        return cls(column, f"S[table-format={sign}{whole}.{digits}]")

    @property
    def align(self) -> str:
        """The column in the argument of tabular."""
        if self.column.paper_width:
            return f"p{{{self.column.paper_width:g}\\linewidth}}"
        return self.aligned or ("r" if self.column.numeric else "l")

    @property
    def heading(self) -> str:
        """Its title, where siunitx aligns it as text."""
        lines = [escape.latex(line) for line in textwrap.wrap(self.column.narrow_title, 8, break_long_words=False)]
        side = "r" if self.column.numeric else "l"
        stacked = r" \\ ".join(lines)
        title = stacked if len(lines) == 1 else f"\\shortstack[{side}]{{{stacked}}}"
        return f"{{{title}}}" if self.aligned else title

    def cell(self, cell: Cell) -> str:
        """A cell of it."""
        number = _number(cell) if self.aligned else None
        if number is not None:
            return ("\\bfseries " if cell.bold else "") + number[0].replace(",", "")
        text = escape.latex(cell.text)
        text = f"\\textbf{{{text}}}" if cell.bold else text
        if self.aligned:
            return f"{{{text}}}"
        return f"\\raggedright {text}" if self.column.paper_width else text


def _number(cell: Cell) -> re.Match[str] | None:
    return _NUMBER.fullmatch(cell.text.replace(MINUS, "-"))
