"""`acmix repeat` as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from acmix_nas.cli.repeat import repeat
from acmix_nas.errors import StudyError

QUICK = ["--epochs", "1", "--proxy-images", "32", "--proxy", "cpu", "--device", "cpu"]


def acmix(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(__file__).parents[2]))}
    run = [sys.executable, "-m", "acmix_nas", *map(str, words)]
    return subprocess.run(run, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_a_study_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(repeat, ["nothing", "0", "--out", str(tmp_path)])
    assert isinstance(done.exception, StudyError)
    assert "there is no study 'nothing'" in str(done.exception)


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_a_trial_of_a_search_is_repeated(tmp_path: Path) -> None:
    made = acmix("search", "--space", "swin_t", "--trials", 2, "--study", "demo", *QUICK, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = acmix("repeat", "demo", 1, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["study"], told["trial"], told["equal"], told["changed"]) == ("demo", 1, True, {})
    wrong = acmix("repeat", "demo", 7, cwd=tmp_path)
    assert wrong.returncode == 1
    assert "no trial 7; it has 0 to 1" in wrong.stderr
