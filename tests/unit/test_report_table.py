import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from acmix_nas.report import escape
from acmix_nas.report.latex import as_latex
from acmix_nas.report.table import Cell, Column, Table, as_csv, as_markdown, as_rich, as_text

SPECIAL = set("&%$#_{}~^\\")
ESCAPED = re.compile(
    r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textendash)\{\}|\\[{}&%$#_]"
)
TEXT = st.text() | st.text(alphabet="\\{}&%$#_~^<>|\"'[]*-`±\u2212\n\t\x1b ")


def one_cell(text: str, *, bold: bool = False) -> Table:
    return Table(name="t", title="t", columns=(Column(key="k", title="K"),), rows=((Cell(text, text, bold),),))


@given(TEXT)
def test_latex_leaves_no_special_character(text: str) -> None:
    escaped = escape.latex(text)
    assert escaped.isascii()
    assert escaped.isprintable()
    rest = re.sub(r"\$(\\pm|\\times|-|\\alpha|\\beta|\\dagger|\\cdot)\$", "", escaped)
    rest = re.sub(r"\{(''|\[|\*|`|')\}|-\{\}", "", ESCAPED.sub("", rest))
    assert not SPECIAL & set(rest)
    assert "--" not in escaped


def test_latex_by_example() -> None:
    assert escape.latex("a_b & 50% of $x^2$") == r"a\_b \& 50\% of \$x\textasciicircum{}2\$"
    assert escape.latex("naïve ± 1 → 2") == r"naive $\pm$ 1 ? 2"
    assert escape.latex("--seed") == "-{}-seed"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_csv_is_read_back(texts: list[str]) -> None:
    columns = tuple(Column(key=f"k{i}", title="") for i in range(len(texts)))
    table = Table(name="t", title="t", columns=columns, rows=(tuple(Cell("", text) for text in texts),))
    lines = list(csv.reader(io.StringIO(as_csv(table), newline="")))
    assert lines == [[column.key for column in columns], [escape.csv(text) for text in texts]]


@pytest.mark.parametrize("text", ["plain host", "+ shift", "- attention", "-1.5", "a=b", "x\ny", "Größe"])
def test_csv_has_usual_names_literally(text):
    assert escape.csv(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        (" =1", "' =1"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\rb", r"a\x0db"),
    ],
)
def test_csv_has_no_formula_and_no_control_character(text, shown):
    assert escape.csv(text) == shown


@given(TEXT)
def test_markdown_keeps_one_line_and_its_columns(text: str) -> None:
    lines = as_markdown(one_cell(text)).splitlines()
    assert len(lines) == 3
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", lines[2])) == 2
    assert "<" not in lines[2]


@given(TEXT)
def test_terminal_and_pipe_show_text_literally(text: str) -> None:
    console = Console(file=io.StringIO(), width=400, color_system=None)
    console.print(as_rich(one_cell(f"[bold]{text}")))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]" in shown
    assert "\x1b" not in shown
    assert as_text(one_cell(text)).count("\n") == 4


def test_bold_cells_stand_out() -> None:
    assert r"\textbf{a\_b}" in as_latex(one_cell("a_b", bold=True))
    assert r"**a\_b**" in as_markdown(one_cell("a_b", bold=True))


def test_latex_is_a_whole_booktabs_table() -> None:
    text = as_latex(one_cell("x"))
    for command in (r"\begin{table}", r"\caption{", r"\label{tab:t}", r"\toprule", r"\midrule", r"\bottomrule"):
        assert command in text
    assert text.count(r"\begin{") == text.count(r"\end{")


@given(st.text())
def test_labels_hold_letters_digits_and_dashes(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9-]+", escape.label(text))
