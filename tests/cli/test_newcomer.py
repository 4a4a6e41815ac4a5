"""A new user's day: every command of the README as it stands, from a fresh clone and the newest packages.

Takes some three hours on 2 cores; with ACMIX_NEWCOMER=FOLDER it works there, and goes on after the last command done.
The two commands that install for tests and beside a CUDA build are run by .ci/run.
"""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
IN_CLONE = ".venv/bin/"
"""So begin the commands that install more; the others are as good anywhere."""

pytestmark = pytest.mark.nightly


def shell_lines(readme: str) -> list[str]:
    """The commands of the page in its order, the two that .ci/run runs left out."""
    blocks = re.findall(r"(?:<!-- command: (\w+) -->\n)?```sh\n(.*?)```", readme, flags=re.DOTALL)
    return [line for name, block in blocks if name not in ("test", "constrained") for line in block.splitlines()]


def photographs(home: Path) -> None:
    """Two classes of 6 and 2 images in ~/imagenet: few, for the README trains 300 epochs on them at 224 pixels."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2)):
        for name, shade in (("dark", 60), ("light", 180)):
            folder = home / "imagenet" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(shade - 50, shade + 50, (240, 320, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.jpg")


def test_every_command_as_it_stands(tmp_path):
    day = Path(os.environ.get("ACMIX_NEWCOMER", tmp_path)).resolve()
    clone, folder, home, finished = day / "acmix-nas", day / "work", day / "home", day / "finished.txt"
    if not finished.exists():
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        folder.mkdir()
        photographs(home)
        finished.touch()
    first, *lines = shell_lines((clone / "README.md").read_text(encoding="utf-8"))
    assert first.startswith("python3 -m venv .venv")
    assert len(lines) > 20
    assert all(line.startswith(("acmix ", IN_CLONE)) for line in lines)
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ACMIX_DATA", "ACMIX_OUT")}
    env |= {"HOME": str(home), "PATH": f"{clone / '.venv' / 'bin'}{os.pathsep}{env['PATH']}"}
    for line in [first, *lines][len(finished.read_text(encoding="utf-8").splitlines()) :]:
        started = time.monotonic()
        done = subprocess.run(
            line,
            shell=True,
            cwd=clone if line.startswith((first, IN_CLONE)) else folder,
            env=env,
            capture_output=True,
            text=True,
        )
        print(f"{time.monotonic() - started:7.0f} s  {line}", flush=True)
        assert done.returncode == 0, (line, done.stdout[-2000:], done.stderr[-2000:])
        assert "Traceback" not in done.stderr, (line, done.stderr)
        if line != first and line.startswith("acmix search"):
            assert list(folder.glob("reports/*/report.html")), line
        with finished.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
