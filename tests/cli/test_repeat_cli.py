"""`acmix repeat` as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from acmix_nas.cli.repeat import repeat
from acmix_nas.errors import StudyError, UsageError

QUICK = ["--epochs", "1", "--proxy-images", "32", "--proxy", "cpu", "--device", "cpu"]


def acmix(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(__file__).parents[2]))}
    run = [sys.executable, "-m", "acmix_nas", *map(str, words)]
    return subprocess.run(run, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_a_study_that_is_not_there_is_told(tmp_path: Path) -> None:
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
    made = acmix("search", "--space", "swin_t", "--trials", 2, "--study", "demo", *QUICK, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = acmix("repeat", "demo:1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["study"], told["trial"], told["equal"], told["changed"]) == ("demo", 1, True, {})
    wrong = acmix("repeat", "demo:7", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "no trial 7; it has 0 to 1" in wrong.stderr
