"""`acmix search | head -1`: whoever reads goes away, the study goes on and its log says so."""

import subprocess
import sys
from pathlib import Path

import drivers
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["both", "stdout", "stderr"])
def test_a_search_whose_output_nobody_reads_goes_on(tmp_path, streams):
    images = drivers.make_images(tmp_path / "images")
    line = ["search", "--space", drivers.SPACE, "--data", images, "--out", tmp_path / "out", "--study", "it"]
    line += ["--device", "cpu", "--trials", "3", "--epochs", "1"]
    pipes = {
        "both": {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT},
        "stdout": {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL},
        "stderr": {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE},
    }[streams]
    with subprocess.Popen([sys.executable, "-m", "acmix_nas", *map(str, line)], cwd=drivers_root(), **pipes) as running:
        pipe = running.stderr if streams == "stderr" else running.stdout
        assert pipe is not None
        if streams != "stdout":  # results come last
            assert pipe.readline()
        pipe.close()
        assert running.wait(drivers.PATIENCE_S) == 0
    assert len(drivers.lines(tmp_path / "out")) == 3
    assert (tmp_path / "out" / "it" / "report.html").is_file()
    if streams != "stdout":
        log = (tmp_path / "out" / "it" / "log.txt").read_text()
        assert "nobody reads" in log
        assert log.count("nobody reads") <= 2


def drivers_root() -> Path:
    """The checkout, whose package the command is."""
    return Path(__file__).parent.parent.parent
