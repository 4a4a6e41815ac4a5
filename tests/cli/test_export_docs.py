"""Every command and example of docs/export.md runs, in the order of the page."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import warm_commands

PAGE = (Path(__file__).parent.parent.parent / "docs" / "export.md").read_text(encoding="utf-8")
QUICKER = {
    "search": ["--trials", "2", "--epochs", "1", "--proxy", "cpu", "--proxy-images", "64"],
    "export": ["--size", "fixed", "--input-size", "64"],
}
"""The last of an option given twice counts: the same commands, with less to compute."""

pytestmark = pytest.mark.nightly


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.usefixtures("on_few_images")
def test_the_page_runs(installed, tmp_path, shallow_swin_t):
    folder = tmp_path / "work"
    folder.mkdir()
    commands = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    assert [words[1] for words in commands] == ["search", "export", "export", "export"]
    for words in commands:
        quicker = [*QUICKER[words[1]], *(["--space", shallow_swin_t] if words[1] == "search" else [])]
        done = warm_commands.run(*words[1:], *quicker, cwd=folder)
        assert done.returncode == 0, (words, done.stderr)
    (example,) = blocks("python")
    run = [sys.executable, "-W", "error", "-c", example]
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(run, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    channels, shapes = done.stdout.splitlines()
    assert channels == "[192, 384, 768] [8, 16, 32]"
    assert shapes == "[(1, 25, 38, 192), (1, 13, 19, 384), (1, 7, 10, 768)]"
