"""A metric and a task of a user's own, from the command line to the table, the page and LaTeX."""

import sys
from pathlib import Path

import pytest
import yaml

from acmix_nas import plugins
from acmix_nas.search import load

QUICK = ["--space", "resnet26", "--trials", "3", "--epochs", "1", "--proxy-images", "20", "--device", "cpu"]
METRICS = """
import torch
from acmix_nas.metrics import Metric


def mean_recall(outputs, targets):
    found = outputs.argmax(1)
    return float(torch.stack([(found[targets == c] == c).float().mean() for c in targets.unique()]).mean())


BALANCED = Metric("balanced", "higher", "%", ".2f", title="mean recall", unit_size=0.01, bounds=(0, 1),
                  compute=mean_recall)
"""
LEVELS = """
from torch.nn import functional as F
from acmix_nas.metrics import Metric
from acmix_nas.tasks import Task


class Levels(Task):
    metrics = (Metric("mae", "lower", "levels", ".3f", title="MAE", bounds=(0, None)),)

    def targets(self, part, chosen, images):
        return images[:].float().mean((1, 2, 3))

    def build(self, backbone, splits):
        return backbone.classifier(1)

    def loss(self, outputs, targets, recipe):
        return F.l1_loss(outputs.squeeze(1), targets)

    def tally(self, outputs, targets):
        return (outputs.squeeze(1) - targets).abs().double().sum()[None]

    def scores(self, tally, images):
        return {"mae": float(tally) / images}


TASK = Levels()
"""

pytestmark = pytest.mark.nightly


@pytest.fixture
def acmix(monkeypatch, tmp_path, capsys):
    """Runs the command beside a lab's modules; returns (exit code, stdout, stderr)."""
    for name in ("_allowed", "_suspect", "_loaded"):
        monkeypatch.setattr(plugins, name, set())
    (tmp_path / "path" / "my_lab").mkdir(parents=True)
    (tmp_path / "path" / "my_lab" / "metrics.py").write_text(METRICS)
    (tmp_path / "path" / "my_lab" / "levels.py").write_text(LEVELS)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.chdir(tmp_path)
    for name in ("ACMIX_OUT", "ACMIX_STORAGE", "ACMIX_PLUGINS"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        from acmix_nas.cli import main

        for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "argv", ["acmix", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return run


def test_a_search_for_a_metric_of_ones_own(acmix):
    code, out, err = acmix("search", *QUICK, "--metric", "my_lab.metrics:BALANCED", "--study", "recall")
    assert (code, "mean recall %" in out) == (0, True), err
    folder = Path("reports") / "recall"
    header, records = load(folder)
    assert (header.metric.name, header.objectives[0]) == ("balanced", "balanced")
    assert all({"balanced", "top1"} <= set(record.metrics) for record in records)
    assert set(yaml.safe_load((folder / "best.yaml").read_text())["score"]) >= {"balanced"}
    for name in ("report.html", "report.md", "table.tex"):
        assert "mean recall" in (folder / name).read_text()
    assert acmix("report", "recall", "--format", "csv")[1].splitlines()[0].split(",")[3] == "balanced"
    assert "my_lab.metrics" not in sys.modules  # a report needs no module of the user's
    assert "best mean recall" in " ".join(acmix("status", "recall")[1].split())


def test_a_search_for_a_task_of_ones_own_keeps_the_lowest_error(acmix):
    code, out, err = acmix("search", *QUICK, "--task", "my_lab.levels:TASK", "--study", "levels")
    assert (code, "MAE" in out) == (0, True), err
    folder = Path("reports") / "levels"
    header, records = load(folder)
    assert (header.metric.better, {record.task for record in records}) == ("lower", {"my_lab.levels:TASK"})
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert best["score"]["mae"] == pytest.approx(min(record.score for record in records if record.score is not None))
    for name in ("report.html", "report.md", "table.tex"):
        text = (folder / name).read_text()
        assert "MAE" in text
        assert "top-1" not in text
    assert acmix("report", "levels")[0] == 0
    assert "my_lab.levels" not in sys.modules
