"""The table in LaTeX, read by a real LaTeX where there is one."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from report_records import make_ablation, make_search

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import View, study_table
from acmix_nas.report.latex import as_latex
from acmix_nas.report.table import Cell, Column, Table

HOSTILE = ("\\input{/etc/passwd} & $x_1$ % # ~ ^", "]]>${7*7}{{7*7}}", "*naïve* [1] 'q' \"q\" <a|b>")


def numbers(*texts: str, bold: int = -1) -> str:
    columns = (Column(key="a", title="a"), Column(key="b", title="b %", numeric=True))
    rows = tuple((Cell(f"r{i}"), Cell(text, None, i == bold)) for i, text in enumerate(texts))
    return as_latex(Table(name="t", title="t", columns=columns, rows=rows, caption="c"))


def test_numbers_are_aligned_by_siunitx() -> None:
    text = numbers("81.30", "\N{MINUS SIGN}0.5", "1,234", "-", bold=0)
    assert "S[table-format=+4.2]" in text
    assert r"r0 & \bfseries 81.30 \\" in text
    assert r"r1 & -0.5 \\" in text
    assert r"r2 & 1234 \\" in text
    assert r"r3 & {-} \\" in text
    assert r"a & {b \%} \\" in text


def test_a_column_without_plain_numbers_is_set_to_the_right() -> None:
    text = numbers("+0.50 ± 0.21", "baseline", "+0.40")
    assert "@{}lr@{}" in text
    assert r"r0 & +0.50 $\pm$ 0.21 \\" in text


def poisoned(text: str) -> tuple[StudyHeader, list[TrialRecord]]:
    header, records = make_ablation()
    data = {**records[0].data, "name": text}
    return replace(header, rows=(), space=text), [replace(r, label=f"{text}{r.label[:3]}", data=data) for r in records]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_a_real_latex_takes_the_tables(tmp_path: Path) -> None:
    """All kinds of tables in one document; nothing sticks out of the page and no number is refused."""
    header, records = make_ablation()
    search = make_search()
    tables = [
        study_table(header, records),
        study_table(header, records, View(compare="published", columns=("row", "mean", "verdict", "published_top1"))),
        study_table(*search),
        study_table(*make_ablation(seeds=1)),
        study_table(header, []),
    ]
    odd = [study_table(*poisoned(text), View(columns=("row", "mean", "n"))) for text in HOSTILE]
    body = "\n\\clearpage\n".join(as_latex(table) for table in [*tables, *odd])
    head = "\\documentclass{article}\n\\usepackage{booktabs,siunitx}\n\\begin{document}\n"
    (tmp_path / "paper.tex").write_text(f"{head}{body}\n\\end{{document}}\n", encoding="utf-8")
    run = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "Overfull \\hbox" not in log
    assert "siunitx Warning" not in log
