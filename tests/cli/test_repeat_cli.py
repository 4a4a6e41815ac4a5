"""`acmix repeat` as a user types it."""

import json
from pathlib import Path

import pytest
import warm_commands
from click.testing import CliRunner

from acmix_nas.cli.repeat import repeat
from acmix_nas.errors import StudyError, UsageError

QUICK = ["--epochs", "1", "--proxy-images", "32", "--proxy", "cpu", "--device", "cpu"]


def test_an_unknown_study_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(repeat, ["nothing:0", "--reports", str(tmp_path)])
    assert isinstance(done.exception, StudyError)
    assert "there is no study 'nothing'" in str(done.exception)


@pytest.mark.parametrize("trial", ["nothing", "nothing:", ":0", "nothing:first"])
def test_a_trial_needs_a_study_and_a_number(trial: str) -> None:
    done = CliRunner().invoke(repeat, [trial])
    assert isinstance(done.exception, UsageError)
    assert "STUDY:TRIAL" in str(done.exception)


def test_the_two_words_of_0_1_are_still_a_trial(tmp_path: Path) -> None:
    done = CliRunner().invoke(repeat, ["nothing", "0", "--out", str(tmp_path)])
    assert isinstance(done.exception, StudyError)
    assert "there is no study 'nothing'" in str(done.exception)
    assert "Note: STUDY TRIAL is now STUDY:TRIAL, here nothing:0" in done.stderr
    assert "Note: --out is now --reports" in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_a_trial_of_a_search_is_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    made = warm_commands.run("search", "--space", "swin_t", "--trials", 2, "--study", "demo", *QUICK, cwd=folder)
    assert made.returncode == 0, made.stderr
    done = warm_commands.run("repeat", "demo:1", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["study"], told["trial"], told["equal"], told["changed"]) == ("demo", 1, True, {})
    wrong = warm_commands.run("repeat", "demo:7", cwd=folder)
    assert wrong.returncode == 1
    assert "no trial 7; it has 0 to 1" in wrong.stderr
