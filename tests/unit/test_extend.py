"""docs/extend.md: its modules run from the command to the report, without a change in any file of the package."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from scipy.stats import spearmanr

from acmix_nas import files, plugins
from acmix_nas.cli import acmix
from acmix_nas.errors import AcmixError
from acmix_nas.experiments.ablation import cells

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"
MAE, BALANCED = ("MAE", "levels"), ("balanced accuracy", "%")


@pytest.fixture(autouse=True)
def lab(tmp_path, monkeypatch):
    """The modules of the page on PYTHONPATH, and a space and a table of few small networks."""
    for name, code in re.findall(
        r"```python\n# (my_lab/\w+\.py)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    ):
        file = tmp_path / "path" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"), prepend=":")
    monkeypatch.delenv("ACMIX_PLUGINS", raising=False)
    for name in ("_allowed", "_suspect", "_loaded"):
        monkeypatch.setattr(plugins, name, set())
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    space = yaml.safe_load(files.find_space("resnet26").read_text())
    space["proxies"] = {"cpu": space["proxies"]["cpu"] | {"epochs": 1, "images": 40, "batch_size": 20}}
    Path("tiny.yaml").write_text(yaml.safe_dump(space))
    return tmp_path


def ran(*words):
    done = CliRunner().invoke(acmix, [str(word) for word in words], standalone_mode=False)
    assert done.exception is None, (done.output, done.exception)
    return done


def refused(*words):
    done = CliRunner().invoke(acmix, [str(word) for word in words], standalone_mode=False)
    assert isinstance(done.exception, AcmixError), (done.output, done.exception)
    assert done.exception.exit_code in (1, 2)
    return str(done.exception)


def shown_in(folder, title, unit):
    """Name and unit of a metric stand in the table, the page and LaTeX."""
    latex = "\\%" if unit == "%" else unit
    for name, words in (("report.md", (title, unit)), ("report.html", (title, unit)), ("table.tex", (title, latex))):
        text = (folder / name).read_text(encoding="utf-8")
        assert all(word in text for word in words), (name, words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "metric", "shown", "biased"),
    [
        (("--task", "my_lab.regression:TASK"), "mae", MAE, "downward"),
        pytest.param(
            ("--metric", "my_lab.metrics:BALANCED"), "balanced", BALANCED, "upward", marks=pytest.mark.nightly
        ),
        (("--data", "my_lab.data:shapes/120", "--metric", "my_lab.metrics:BALANCED"), "balanced", BALANCED, "upward"),
    ],
    ids=["task", "metric", "data"],
)
def test_a_search_is_run_reported_resumed_and_refused(lab, options, metric, shown, biased):
    ran("search", "--space", "tiny.yaml", "--trials", 2, "--study", "mine", *options)
    folder = lab / "reports" / "mine"
    shown_in(folder, *shown)
    assert f"biased {biased}" in (folder / "report.md").read_text()
    records = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert [record["metric"] for record in records] == [metric] * 2
    better = max if biased == "upward" else min
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert best["score"][metric] == better(record["scores"][-1] for record in records)
    ran("report", "mine")  # from what is stored, without the modules
    shown_in(folder, *shown)
    if "--task" in options:
        again = ("search", "--space", "tiny.yaml", "--study", "mine", "--resume", "--trials", 3)
        assert "--plugin my_lab.regression" in refused(*again)
        said = refused(*again, "--plugin", "my_lab.regression", "--task", "classification")
        assert 'was made with task = "my_lab.regression:TASK"' in said
        ran(*again, "--plugin", "my_lab.regression")
        assert len((folder / "trials.jsonl").read_text().splitlines()) == 3
        done = ran("repeat", "mine:0", "--plugin", "my_lab.regression")
        assert "equal: MAE" in done.output


@pytest.mark.slow
def test_a_proxy_is_judged_by_errors_that_are_better_low(lab, on_few_images):
    words = ("--archs", 5, "--epochs-large", 2, "--plugin", "my_lab.regression", "--json", "--workers", 1)
    told = json.loads(
        ran("data", "fidelity", "--space", "tiny.yaml", "--task", "my_lab.regression:TASK", *words).stdout
    )
    lines = [json.loads(line) for line in (Path(told["folder"]) / "records.jsonl").read_text().splitlines()]
    cheap, large = ([line for line in lines if line["label"] == label] for label in ("cheap", "large"))
    assert [line["metric"] for line in lines] == ["mae"] * 10
    errors = [line["scores"][-1] for line in large]
    for name, values in (("params", [line["cost"]["params"] for line in large]), ("proxy", None)):
        order = [-line["scores"][-1] for line in cheap] if values is None else values
        expected = spearmanr(order, [-error for error in errors]).statistic
        assert told["agreements"][name]["spearman"]["value"] == pytest.approx(expected)


@pytest.mark.nightly
def test_an_ablation_in_a_task_of_ones_own(lab, monkeypatch):
    monkeypatch.setattr(
        cells, "throughputs", lambda archs, **_: (4, dict.fromkeys(archs, 10.0))
    )  # has tests of its own
    table = yaml.safe_load(files.find_space("kernel", "ablations").read_text())
    table = {name: value for name, value in table.items() if name not in ("axes", "combine")}
    table["rows"] = {"small": {"conv_kernel": 3}, "large": {"conv_kernel": 5}}
    table["baseline"] = "small"
    Path("table.yaml").write_text(yaml.safe_dump(table))
    words = ("--host", "resnet", "--proxy", "cpu", "--proxy-images", 40, "--epochs", 1, "--seeds", 2, "--study", "abl")
    ran("ablate", "table.yaml", *words, "--task", "my_lab.regression:TASK")
    folder = lab / "reports" / "abl"
    shown_in(folder, *MAE)
    header = json.loads(ran("report", "abl", "--json").stdout)["study"]
    assert (header["metric"]["name"], header["metric"]["better"]) == ("mae", "lower")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--task", "my_lab.nothing:TASK"), "'my_lab.nothing' cannot be imported"),
        (("--task", "my_lab.regression:NOTHING"), "has no Task named 'NOTHING'"),
        (("--task", "detection_of_cats"), "there is no task 'detection_of_cats'"),
        (("--metric", "my_lab.metrics:balanced"), "has no Metric named 'balanced'"),
        (("--metric", "box_ap"), "scored by top1; box_ap is none of them"),
        (("--task", "my_lab.regression:TASK", "--objectives", "top1,macs"), "objectives are some of mae"),
        (("--data", "my_lab.data:nothing"), "has no function named 'nothing'"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_command_line(lab, options, message):
    assert message in refused("search", "--space", "tiny.yaml", "--trials", 2, *options)
    assert not (lab / "reports").exists()


@pytest.mark.slow
def test_a_full_training_in_a_task_of_ones_own_on_images_that_are_not_square(lab):
    words = ("--task", "my_lab.regression:TASK", "--epochs", 1, "--images", 20, "--batch-size", 10)
    done = ran("train", "acmix_resnet26", *words, "--input-size", "12x20", "--study", "full")
    assert "MAE" in done.output
    folder = lab / "reports" / "full"
    assert (folder / "log.csv").read_text().splitlines()[0] == "epoch,lr,loss,mae,seconds"
    facts = yaml.safe_load((folder / "train.yaml").read_text())
    assert (facts["task"], facts["metric"], facts["input_size"]) == ("my_lab.regression:TASK", "mae", [12, 20])
    again = ("train", "acmix_resnet26", "--study", "full", "--resume")
    assert "--plugin my_lab.regression" in refused(*again)
    ran(*again, "--plugin", "my_lab.regression", "--epochs", 1)


def test_a_head_of_ones_own_is_counted():
    words = ("acmix_resnet26", "--task", "segmentation", "--head", "my_lab.head", "--input-size", 64, "--no-time")
    (row,) = json.loads(ran("profile", *words, "--json").stdout)["rows"]
    assert row["model"] == "acmix_resnet26 + my_lab.head"
    assert row["agree"] is True
    backbone = json.loads(ran("profile", *words[:3], "--input-size", 64, "--no-time", "--json").stdout)["rows"][0]
    assert row["params"] < backbone["params"]
    Path("path/my_lab/head.py").write_text("def build(channels, num_classes): ...\n")
    for name in [name for name in sys.modules if name.startswith("my_lab")]:
        del sys.modules[name]
    assert "count" in refused("profile", *words)
