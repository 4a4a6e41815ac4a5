"""`acmix ablate` as a user types it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from acmix_nas.cli import acmix
from acmix_nas.cli.ablate import ablate as command
from acmix_nas.errors import AcmixError, SpaceError, StudyError, UsageError
from acmix_nas.executors import Job, serial
from acmix_nas.experiments.ablation import AblationOptions, cells
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress, Setting

QUICK = ["--epochs", "1", "--proxy-images", "32", "--proxy", "cpu", "--device", "cpu"]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., object]:
    """Runs a command in an empty folder: its exit code and what it prints. Timing has tests of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cells, "throughputs", lambda archs, **_options: (4, dict.fromkeys(archs, 10.0)))

    def called(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = acmix.main([str(word) for word in words], standalone_mode=False)
        return int(code or 0), capsys.readouterr().out

    return called


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
def test_a_wrong_call_is_refused_before_anything_is_made(
    words: list[str], kind: type[AcmixError], said: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(command, [*words, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, kind)
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_flags_win_over_the_file_and_the_file_over_defaults() -> None:
    asked = AblationOptions(table="shift", epochs=2, seed=1)
    assert asked.with_budget({"epochs": 9, "images": 300}) == replace(asked, proxy_images=300)


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_a_users_table_grows_and_is_reused(tmp_path: Path, call: Callable[..., tuple[int, str]]) -> None:
    """Rows, seeds, another study's cells, columns, forms and a refusal, in one go."""
    table = tmp_path / "mine.yaml"
    table.write_text("space: swin_t\nbase: paper\nbaseline: att\naxes: {combine: [att, conv]}\nseeds: 1\n")
    call("ablate", table, *QUICK, "--study", "a")
    table.write_text(table.read_text().replace("[att, conv]", "[att, conv, '{{7*7}}']"))
    with pytest.raises(SpaceError, match="combine is one of"):
        call("ablate", table, "--resume", "--study", "a")
    table.write_text(table.read_text().replace("'{{7*7}}'", "half"))
    view = ["--columns", "row,n,verdict", "--format", "csv"]
    code, text = call("ablate", table, "--resume", "--study", "a", "--seeds", 2, *view)
    assert code == 0
    assert text.splitlines() == [
        "row,n,verdict", "att,2,baseline", "conv,2,needs n >= 3", "half,2,needs n >= 3", ""
    ]  # fmt: skip
    told = json.loads(call("ablate", table, *QUICK, "--study", "b", "--reuse", "a", "--json")[1])
    assert [trial["environment"]["reused_from"] for trial in told["trials"]] == ["a:0", "a:1", "a:4"]
    with pytest.raises(StudyError, match=r"budget.epochs = 1, this table has 2"):
        call("ablate", table, *QUICK, "--epochs", 2, "--study", "c", "--reuse", "a")
    assert not Path("reports/c").exists()
    with pytest.raises(UsageError, match="there is no column 'top2'"):
        call("report", "a", "--columns", "row,top2")
    assert "att" in call("report", "a", "b", "--format", "markdown")[1]


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_a_failed_cell_leaves_its_row_without_a_claim(
    call: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = serial.run_job

    def failing(job: Job, setting: Setting, on_step: Callable[[Progress], object]) -> TrialRecord:
        fails = job.label == "image" and job.seeds["init"] == 1
        return train(job, setting, (lambda progress: 1 / 0) if fails else on_step)

    monkeypatch.setattr(serial, "run_job", failing)
    code, text = call("ablate", "conv_on", *QUICK, "--seeds", 2, "--format", "json")
    assert code == 3
    table = json.loads(text)
    assert [row["verdict"] for row in table["rows"]] == ["baseline", "no claim: failed seeds"]
    assert "Failed seeds: image (1). These rows get no verdict." in table["notes"]
    assert Path("reports/conv_on-001/report.html").is_file()
