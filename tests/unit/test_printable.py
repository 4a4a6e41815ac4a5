"""What comes from files moves no cursor and turns no line: in prints, on rich's consoles, in the log, in errors."""

import io
import logging
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress
from rich.table import Table

from acmix_nas import cli
from acmix_nas.cli._console import progress, results, spinner, text_column
from acmix_nas.cli._say import say
from acmix_nas.errors import StudyError
from acmix_nas.printable import printable
from acmix_nas.study.folder import at_work

EVIL = "[red]\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt.exe\u2066\u2028\x7f\ud800:smile:\b\r"
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")


def test_control_characters_are_written_out():
    assert printable("a\x1b[31mb\x00\x7f\x9b") == r"a\x1b[31mb\x00\x7f\x9b"
    assert printable("\u202e\u2066\u2029\ud800") == r"\u202e\u2066\u2029\ud800"
    assert printable("a\tb\r\nc\nd\re") == "a\tb\nc\nd\\x0de"
    assert printable("Größe, 大きさ, حجم, 📏") == "Größe, 大きさ, حجم, 📏"


@given(st.text())
def test_nothing_is_left_that_acts_and_what_is_shown_stays(text):
    shown = printable(text)
    assert not ACTS.search(shown)
    assert printable(shown) == shown
    assert all(unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") or char in "\t\n" for char in shown)


def test_a_print_is_printable(capsys):
    say(EVIL)
    say(EVIL, err=True)
    shown = capsys.readouterr()
    assert not ACTS.search(shown.out + shown.err)
    assert "[red]" in shown.out
    assert r"\x1b]0;owned\x07" in shown.err


@pytest.mark.parametrize("make", [results, progress])
def test_consoles_take_no_text_as_markup_nor_act_on_it(make, capsys):
    console = make()
    table = Table(EVIL, title=EVIL, caption=EVIL)
    table.add_row(EVIL)
    console.print(EVIL, soft_wrap=True)
    console.print(table)
    with Progress(text_column("{task.description}"), console=console) as bar:
        bar.update(bar.add_task(EVIL, total=1), completed=1)
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert not ACTS.search(text)
    assert text.count("[red]") >= 2
    assert ":smile:" in text


def test_on_a_terminal_only_our_own_sequences_are_written(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = progress()
    console.file = io.StringIO()
    with spinner(console, EVIL), Progress(text_column("{task.description}"), console=console, disable=True):
        console.print(EVIL)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())  # rich's own
    assert "owned" in shown
    assert "\x1b]" not in shown
    assert not ACTS.search(shown.replace("\r", ""))


def test_the_log_of_a_study_is_printable_and_its_lines_are_its_own(tmp_path):
    with at_work(tmp_path):
        logging.getLogger("acmix_nas.some").warning("left out %s", f"{EVIL}\n2026-01-01 00:00:00,000 INFO forged")
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert not ACTS.search(log)
    assert len([line for line in log.splitlines() if re.match(r"\d{4}-", line)]) == 1


@pytest.mark.parametrize(
    "error", [StudyError(f"the study {EVIL}"), cli.click.UsageError(EVIL), cli.click.ClickException(EVIL)]
)
def test_an_error_is_printable(error, monkeypatch, capsys):
    def fail(**options):
        raise error

    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setattr(cli.acmix, "main", fail)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr().err
    assert ended.value.code in (1, 2)
    assert not ACTS.search(shown)
    assert r"\x1b]0;owned\x07" in shown


@pytest.fixture(autouse=True)
def as_before():
    """What the command changes in `logging` is as it was after each test."""
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)
    logging.captureWarnings(False)


def test_an_unexpected_exception_is_printable(monkeypatch, capsys):
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    monkeypatch.setattr(cli.acmix, "main", lambda **options: None)
    with pytest.raises(SystemExit):
        cli.main()
    sys.excepthook(ValueError, ValueError(EVIL), None)
    shown = capsys.readouterr().err
    assert not ACTS.search(shown)
    assert "ValueError: [red]" in shown


WARNS = f"""
import logging, sys, warnings
import click, optuna
from acmix_nas import cli

@click.command()
def warn():
    logging.getLogger("acmix_nas.x").warning({EVIL!r})  # which no handler takes
    optuna.logging.get_logger("optuna.x").warning("%s", {EVIL!r})  # which has a handler of Optuna's
    warnings.warn({EVIL!r})

cli.LazyGroup.get_command = lambda *_: warn
sys.argv = ["acmix", "warn"]
cli.main()
"""


def test_warnings_of_logs_and_of_python_are_printable():
    done = subprocess.run([sys.executable, "-c", WARNS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("owned") >= 3
    assert not ACTS.search(done.stderr.replace("\x1b[33m", "").replace("\x1b[0m", ""))
