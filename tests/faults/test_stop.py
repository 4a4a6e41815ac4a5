"""`acmix stop` is heard from the moment when a command holds its study."""

import shutil
import sys
from pathlib import Path

import drivers
import pytest

import acmix_nas.experiments.finalists
import acmix_nas.experiments.running
import acmix_nas.experiments.search
from acmix_nas.cli import main
from acmix_nas.study.stop import Stop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return drivers.make_images(tmp_path_factory.mktemp("images") / "store")


@pytest.fixture(scope="module")
def searched(images, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("searched") / "out"
    assert drivers.ended(drivers.search(images, out, "--trials", 2, "--epochs", 1)) == 0, drivers.said(out)
    return out


@pytest.fixture
def out(searched, tmp_path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "out"))


@pytest.fixture
def acmix(monkeypatch, capsys):
    """Runs the command here; returns the exit code."""

    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["acmix", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    return run


def stopping(monkeypatch, acmix, module, name: str, study: str, out: Path) -> None:
    """Says `acmix stop` when a function is called."""
    original = getattr(module, name)

    def stopped(*values, **options):
        assert acmix("stop", study, "--out", out) == 0
        return original(*values, **options)

    monkeypatch.setattr(module, name, stopped)


def test_a_stop_while_finalists_choose_their_list_is_heard(out, acmix, monkeypatch):
    line = ("finalists", "it", "--top", 1, "--seeds", 1, "--out", out, "--device", "cpu")
    with monkeypatch.context() as patch:
        stopping(patch, acmix, acmix_nas.experiments.finalists, "choose", "it", out)
        assert acmix(*line) == 130
    assert (out / "it" / "finalists.json").is_file()
    assert (out / "it" / "finals.jsonl").read_text() == ""
    (out / "it" / "stop").touch()  # one that was meant for another process is not
    assert acmix(*line) == 0
    assert (out / "it" / "finals.jsonl").read_text() != ""
    assert not (out / "it" / "stop").exists()


def test_a_stop_while_a_search_brings_trials_over_is_heard(images, out, acmix, monkeypatch):
    where = ("--data", images, "--out", out, "--study", "new", "--device", "cpu", "--epochs", 1)
    line = ("search", "--space", drivers.SPACE, *where, "--trials", 1, "--warm-start", "it")
    with monkeypatch.context() as patch:
        stopping(patch, acmix, acmix_nas.experiments.search, "bring_over", "new", out)
        assert acmix(*line) == 130
    assert len(_trials(out)) == 2
    assert acmix(*line, "--resume") == 0
    assert [row.get("origin") for row in _trials(out)] == ["it:0", "it:1", None]


def test_a_stop_while_a_study_is_announced_is_heard(images, out, acmix, monkeypatch):
    with monkeypatch.context() as patch:
        stopping(patch, acmix, acmix_nas.experiments.running, "announce", "it", out)
        code = acmix("search", "--space", drivers.SPACE, "--out", out, "--study", "it", "--resume", "--trials", 4)
    assert code == 130
    assert len(drivers.lines(out)) == 2
    assert Stop(out / "it").check() is None


def _trials(out: Path) -> list[dict]:
    import json

    return [json.loads(text) for text in (out / "new" / "trials.jsonl").read_text().splitlines()]
