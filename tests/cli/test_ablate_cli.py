"""`acmix ablate` as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from acmix_nas.cli.ablate import ablate as command
from acmix_nas.errors import AcmixError, SpaceError, UsageError

QUICK = ["--epochs", "1", "--proxy-images", "32", "--proxy", "cpu", "--device", "cpu"]


def acmix(*words: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(__file__).parents[2]))}
    run = [sys.executable, "-m", "acmix_nas", *map(str, words)]
    done = subprocess.run(run, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def test_help_names_its_options() -> None:
    told = CliRunner().invoke(command, ["--help"]).output
    assert all(option in told for option in ("--base", "--host", "--columns", "--compare", "--reuse", "--format"))


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["nothing"], SpaceError, "there is no ablation 'nothing'; there are combine"),
        (["shift", "--host", "vit"], SpaceError, "no space has the host 'vit'"),
        (["shift", "--base", "swin_b"], UsageError, "there is no model 'swin_b'"),
        (["conv_on", "--host", "pvt"], SpaceError, "nothing can be compared"),
    ],
)
def test_a_wrong_call_is_told_before_anything_is_made(
    words: list[str], kind: type[AcmixError], said: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(command, [*words, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, kind)
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_table_of_ones_own_grows_and_is_reused(tmp_path: Path) -> None:
    """Rows, seeds, another study's cells, columns, forms and a refusal, in one go."""
    table = tmp_path / "mine.yaml"
    table.write_text("space: swin_t\nbase: paper\nbaseline: att\naxes: {combine: [att, conv]}\nseeds: 1\n")
    acmix("ablate", table, *QUICK, "--study", "a", cwd=tmp_path)
    table.write_text(table.read_text().replace("[att, conv]", "[att, conv, half]"))
    view = ["--columns", "row,n,verdict", "--format", "csv"]
    grown = acmix("ablate", table, "--resume", "--study", "a", "--seeds", 2, *view, cwd=tmp_path)
    assert grown.stdout.splitlines() == [
        "row,n,verdict", "att,2,baseline", "conv,2,needs n >= 3", "half,2,needs n >= 3", ""
    ]  # fmt: skip
    told = json.loads(acmix("ablate", table, *QUICK, "--study", "b", "--reuse", "a", "--json", cwd=tmp_path).stdout)
    origins = [trial["environment"]["reused_from"] for trial in told["trials"]]
    assert origins == ["a:0", "a:1", "a:2"]
    refused = acmix("ablate", table, *QUICK, "--epochs", 2, "--study", "c", "--reuse", "a", cwd=tmp_path, code=1)
    assert "budget.epochs = 1, this table has 2" in refused.stderr
    wrong = acmix("report", "a", "--columns", "row,top2", cwd=tmp_path, code=2)
    assert "there is no column 'top2'" in wrong.stderr
