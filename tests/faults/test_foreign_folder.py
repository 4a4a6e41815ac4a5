"""The folder of a study that somebody else sent: it opens no database, gets no password, and writes nowhere else."""

import hashlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner
from search_pieces import Curves, run, setting_of
from study_pieces import new_study

from acmix_nas.cli import acmix
from acmix_nas.errors import StudyError
from acmix_nas.study import load
from acmix_nas.study.folder import DATABASE, ELSEWHERE, at_work
from acmix_nas.study.study import Study

COMMANDS = (
    ("report", "sent"),
    ("status", "sent"),
    ("finalists", "sent"),
    ("repeat", "sent:0"),
    ("export", "sent:0", "--format", "torch", "--out", "x.pt2"),
    ("profile", "sent:0", "--no-memory"),
    ("ablate", "combine", "--base", "sent:0"),
    ("search", "--space", "swin_t", "--study", "sent", "--resume"),
    ("search", "--space", "swin_t", "--warm-start", "sent", "--study", "new"),
)

pytestmark = pytest.mark.slow


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """A folder of studies with one that names another storage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACMIX_STORAGE", raising=False)
    folder = tmp_path / "reports" / "sent"
    folder.mkdir(parents=True)
    return tmp_path / "reports"


def says(reports, url: str) -> None:
    (reports / "sent" / ELSEWHERE).write_text(json.dumps({"url": url}))


def called(*words: str) -> str:
    done = CliRunner().invoke(acmix, words, standalone_mode=False)
    assert isinstance(done.exception, StudyError), (done.exception, done.output)
    return str(done.exception)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_an_unrelated_sqlite_file_that_a_folder_names_is_not_touched(reports, tmp_path, words):
    other = tmp_path / "photos.db"
    with sqlite3.connect(other) as database:
        database.execute("create table photos (name text)")
    before = hashlib.sha256(other.read_bytes()).hexdigest()
    says(reports, f"sqlite:///{other}")
    message = called(*words)
    assert f"--storage sqlite:///{other}" in message
    assert "ACMIX_STORAGE" in message
    assert hashlib.sha256(other.read_bytes()).hexdigest() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos.db", "reports"]


@pytest.mark.parametrize("words", COMMANDS[:-1], ids=lambda words: " ".join(words[:2]))
def test_a_password_is_not_sent_to_a_host_that_a_file_names(reports, monkeypatch, words):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        says(reports, f"postgresql+psycopg://me:***@127.0.0.1:{port}/db")
        monkeypatch.setenv("ACMIX_STORAGE", "postgresql+psycopg://me:s3cret@db.lab.example/db")
        monkeypatch.setenv("PGPASSWORD", "s3cret")
        message = called(*words)
        with pytest.raises(BlockingIOError):  # nobody came
            server.accept()
    assert "s3cret" not in message
    assert f"127.0.0.1:{port}" in message


def test_a_folder_cannot_make_a_command_connect_to_a_database(reports):
    says(reports, "postgresql+psycopg://127.0.0.1:1/db")
    assert "says that it is stored in postgresql+psycopg://127.0.0.1:1/db" in called("report", "sent")


def test_a_storage_is_named_in_the_call_or_in_the_environment(reports, monkeypatch, tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    study = new_study(reports, storage=url)
    run(study, Curves(setting_of(1)), trials=3)
    with pytest.raises(StudyError, match="says that it is stored in"):
        load(study.folder)
    assert len(load(study.folder, storage=url)[1]) == 3
    for words in (("status", "study"), ("report", "study"), ("status",)):
        done = CliRunner().invoke(acmix, (*words, "--storage", url), standalone_mode=False)
        assert done.exception is None, done.output
    monkeypatch.setenv("ACMIX_STORAGE", url)
    assert len(load(study.folder)[1]) == 3
    for words in (("status", "study"), ("report", "study")):
        assert CliRunner().invoke(acmix, words, standalone_mode=False).exception is None


def test_a_database_that_is_a_link_out_of_the_folder_is_named_too(reports, tmp_path):
    study = new_study(tmp_path / "own")
    kept = tmp_path / "kept.db"
    shutil.move(study.folder / DATABASE, kept)
    (reports / "sent" / DATABASE).symlink_to(kept)
    before = kept.read_bytes()
    with pytest.raises(StudyError, match=f"says that it is stored in sqlite:///{kept}"):
        Study.open(reports / "sent")
    assert kept.read_bytes() == before
    assert Study.open(reports / "sent", storage=f"sqlite:///{kept}").header.name == study.header.name


@pytest.mark.parametrize("name", ["log.txt", "trials.jsonl", "checkpoints"])
def test_nothing_is_written_or_deleted_through_a_link(tmp_path, name):
    study = new_study(tmp_path / "reports")
    target = tmp_path / "precious"
    if name == "checkpoints":
        target.mkdir()
        (target / "thesis.tex").write_text("years")
    else:
        target.write_text("years")
    (study.folder / name).unlink(missing_ok=True)
    (study.folder / name).symlink_to(target)
    with pytest.raises(StudyError, match="is a link to"), at_work(study.folder):
        study.sweep_checkpoints()
    assert (target / "thesis.tex" if target.is_dir() else target).read_text() == "years"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"url": 7}', '{"url": "no url"}', '{"url": "sqlite://", "more": 1}', "\udcff", "[" * 9999]
)
def test_a_malformed_storage_json_is_one_error(reports, text):
    (reports / "sent" / ELSEWHERE).write_bytes(text.encode(errors="surrogateescape"))
    message = called("report", "sent")
    assert "storage.json" in message


def test_names_from_a_folder_are_printed_without_control_characters(reports, tmp_path):
    says(reports, "sqlite:///\x1b[2J\u202ex.db")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "acmix_nas", "report", "sent"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr
