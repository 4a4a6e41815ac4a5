"""benchmarks/gpu.py, which nobody can run here on a GPU: its parts on a CPU, and what it leaves where one fails."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import gpu  # type: ignore[import-not-found]  # noqa: E402


@pytest.mark.nightly
def test_every_part_runs_on_a_cpu(tmp_path):
    line = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--out", tmp_path, "--device", "cpu", "--smoke"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["left_out"] == {}
    assert {name: len(rows) for name, rows in found["parts"].items()} == {
        "tests": 1, "hosts": 2, "shift": 5, "search": 1, "operator": 4,
    }  # fmt: skip
    assert all(row["ratio"] > 0 for row in found["parts"]["operator"])
    assert found["parts"]["search"][0]["trials"] == 2
    page = (tmp_path / "gpu.md").read_text()
    assert "| 512@7 |" in page
    assert page.count("\n## ") == 5


def test_a_part_that_fails_or_has_no_time_left_is_named_and_the_others_stay(tmp_path):
    def failing():
        yield {"a": 1.5, "b": None}
        raise RuntimeError("no kernel\nfor this device")

    def endless():
        while True:
            yield {"c": "x"}

    result = gpu.Result(tmp_path, {"device": "cuda"}, time.monotonic() + 60)
    result.run("first", failing)
    result.end = 0.0
    result.run("second", endless)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["parts"] == {"first": [{"a": 1.5, "b": None}], "second": [{"c": "x"}]}
    assert found["left_out"] == {"first": "RuntimeError: no kernel", "second": "the rest: no time was left"}
    page = (tmp_path / "gpu.md").read_text()
    assert "| a | b |\n|---|---|\n| 1.5 | - |\n\nLeft out: RuntimeError: no kernel" in page


def test_what_is_missing_comes_from_the_wheels_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "NEEDED", ("sys", "no_such_module"))
    with pytest.raises(SystemExit, match="not installed: no_such_module; name a folder with --wheels"):
        gpu.install(None, tests=False)
    lines = []
    monkeypatch.setattr(gpu.subprocess, "run", lambda line, **_: lines.append(line))
    gpu.install(tmp_path, tests=False)
    assert lines[0][3:] == ["install", "--no-index", "--find-links", str(tmp_path), "no_such_module"]


def test_the_images_are_a_source(tmp_path):
    from acmix_nas.data import open_source

    gpu.generate(tmp_path, classes=3, each=4, size=16)
    source = open_source(tmp_path)
    assert source.classes == ("class0", "class1", "class2")
    assert len(source.train.labels) == 12
