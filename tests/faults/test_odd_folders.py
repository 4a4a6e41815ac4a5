"""Folders with odd names, folders that cannot be written, and a study.db that another program holds."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from search_pieces import Curves, run, setting_of
from study_pieces import SPACE, new_study

from acmix_nas.cli import acmix
from acmix_nas.errors import StudyError
from acmix_nas.report import render
from acmix_nas.search import Study
from acmix_nas.space.stored import definition
from acmix_nas.study import storage
from acmix_nas.study.folder import at_work

pytestmark = pytest.mark.slow

NAMES = (
    "a b",
    "a?b",
    "a?mode=ro&uri=true",
    "x%41y",
    "x%20y%",
    "a#b",
    "ü書",
    "{SCHEMA_VERSION}",
    "{x}",
    'it\'s "it" $HOME `x`',
    "a;b&c|d",
    "-x",
    "~",
    "a:b@c",
    "[a]*",
    "a\nb",
    os.fsdecode(b"\xff\xfe"),
)


def made(out: Path, trials: int = 3) -> Study:
    """A finished search."""
    study = new_study(out, starts=trials, space=definition(SPACE), first=dict(SPACE.first))
    run(study, Curves(setting_of(1)), trials=trials)
    return study


def close(study: Study) -> None:
    study._storage.remove_session()
    study._storage.engine.dispose()


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_the_database_is_in_its_folder_whatever_its_name(tmp_path, name):
    out = tmp_path / name
    study = new_study(out)
    study.start({}, {}, "x")
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {out / "study" / "study.db", out / "study" / "log.txt"}
    assert len(Study.open(out / "study").trials()) == 1
    with study.at_work(), pytest.raises(StudyError, match="another process"), at_work(study.folder):
        pass


def test_a_whole_study_in_a_folder_with_an_odd_name(tmp_path):
    out = tmp_path / "a ?b=%41 #c 'é' {x}"
    render(made(out).folder, *_loaded(out / "study"))
    runner = CliRunner()
    for line in (
        ["report", "study"],
        ["status", "study"],
        ["status"],
        ["stop", "study"],
        ["report", "study", "--json"],
    ):
        done = runner.invoke(acmix, [*line, "--out", str(out)])
        assert done.exit_code == 0, done.output
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {out / "study"}


def _loaded(folder: Path):
    study = Study.open(folder)
    return study.header, study.records()


@pytest.fixture
def read_only(tmp_path) -> Iterator[Path]:
    """A folder of studies on a disk that is then mounted read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(folder)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a read-only disk needs Linux and root")
    try:
        close(made(folder))
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_study_that_cannot_be_written_can_be_looked_at(read_only):
    runner, out = CliRunner(), ["--out", str(read_only)]
    told = runner.invoke(acmix, ["report", "study", "--json", *out])
    assert told.exit_code == 0, told.output
    assert (len(json.loads(told.stdout)["records"]), json.loads(told.stdout)["files"]) == (3, [])
    assert "Nothing was written" in told.stderr
    assert "Read-only file system" in told.stderr
    assert "trials  3 of ?" in runner.invoke(acmix, ["status", "study", *out]).stdout
    assert json.loads(runner.invoke(acmix, ["status", "--json", *out]).stdout)[0]["name"] == "study"
    assert runner.invoke(acmix, ["stop", "study", *out]).exit_code == 0


@pytest.mark.parametrize(
    "line",
    [
        ["report", "study"],
        ["report", "study", "--json", "--figures", "svg"],
        ["finalists", "study", "--device", "cpu"],
        ["search", "--space", "swin_t", "--study", "study", "--resume", "--device", "cpu"],
        ["search", "--space", "swin_t", "--study", "new", "--device", "cpu", "--epochs", "1", "--proxy-images", "20"],
        ["train", "acmix_resnet26", "--epochs", "1", "--images", "20", "--device", "cpu"],
    ],
    ids=" ".join,
)
def test_a_command_that_must_write_is_refused(read_only, line, monkeypatch, capsys):
    from acmix_nas.cli import main

    monkeypatch.setattr(sys, "argv", ["acmix", *line, "--out", str(read_only)])
    with pytest.raises(SystemExit) as caught:
        main()
    said = capsys.readouterr()
    assert caught.value.code == 1
    assert "Error: " in said.err
    assert "Traceback" not in said.err
    if line[0] == "report" and "--json" not in line:
        assert "Pareto front" in said.out


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE_S", 0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_database_that_another_program_holds_is_one_error(tmp_path, how):
    study = made(tmp_path)
    calls = {
        "start": lambda: study.start({}, {}, "x"),
        "keep": lambda: study.keep("goal", 5),
        "ask": lambda: study.ask(trials=7),
        "open": lambda: Study.open(study.folder),
        "trials": study.trials,
    }
    reads = () if how == "EXCLUSIVE" else ("open", "trials")  # a writer that has begun lets others read
    with closing(sqlite3.connect(study.folder / "study.db", isolation_level=None)) as other:
        other.execute(f"BEGIN {how}")
        for name, call in calls.items():
            if name in reads:
                call()
                continue
            with pytest.raises(StudyError, match="database is locked by another program"):
                call()
    assert study.start({}, {}, "x") == 3
    assert len(Study.open(study.folder).trials()) == 4


@pytest.mark.usefixtures("impatient")
def test_status_and_report_say_that_a_database_is_locked(tmp_path):
    study = made(tmp_path)
    close(study)
    with closing(sqlite3.connect(study.folder / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for command in ("status", "report"):
            done = CliRunner().invoke(acmix, [command, "study", "--out", str(tmp_path)], standalone_mode=False)
            assert isinstance(done.exception, StudyError)
            assert "database is locked by another program" in str(done.exception)
