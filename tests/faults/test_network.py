"""Nobody listens and nobody calls out: what the commands do with sockets, in all of their processes."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import warm_commands

import acmix_nas

HOOK = """
import os, sys

def heard(event, args):
    if event in ("socket.bind", "socket.connect", "socket.getaddrinfo"):
        if isinstance(args[1], str) and not os.stat(os.path.dirname(args[1])).st_mode & 0o77:
            return
        with open({log!r}, "a") as file:
            file.write(f"{{os.getpid()}} {{event}} {{args[1:] if event != 'socket.getaddrinfo' else args}}\\n")

sys.addaudithook(heard)
"""
"""Python tells of every socket that is bound or connected (https://docs.python.org/3/library/audit_events.html).

A Unix socket in a folder that only its owner may enter is none: the server that workers are forked from has one.
"""


@pytest.fixture
def place(tmp_path, few_images) -> tuple[Path, Path, dict[str, str]]:
    """Where a command runs, where sockets are noted, and the environment in which every new interpreter notes them."""
    site, log, work = tmp_path / "site", tmp_path / "sockets", tmp_path / "work"
    site.mkdir()
    work.mkdir()
    (site / "sitecustomize.py").write_text(HOOK.format(log=str(log)))
    own = Path(acmix_nas.__file__).parents[1]
    return work, log, {"ACMIX_DATA": str(few_images), "PYTHONPATH": os.pathsep.join([str(site), str(own)])}


@pytest.fixture
def watched(place):
    """Runs the command with all sockets of it and its workers noted; the notes."""
    work, log, env = place

    def run(*words: str) -> list[str]:
        done = warm_commands.run(*words, cwd=work, env=env, first=partial(begin, str(log)))
        assert done.returncode == 0, done.stderr
        return log.read_text().splitlines() if log.exists() else []

    return run


def begin(log: str) -> None:
    """What the process of a command does first."""
    exec(HOOK.format(log=log), {})
    warm_commands.without_timing()


def test_a_socket_would_be_noted(place):
    work, log, env = place
    lines = (
        "import socket; socket.create_server(('127.0.0.1', 0))",
        "import socket; socket.create_server('./mine', family=socket.AF_UNIX)",
        "import socket; socket.create_server('private/mine', family=socket.AF_UNIX)",
    )
    (work / "private").mkdir(mode=0o700)
    for line in lines:
        subprocess.run([sys.executable, "-c", line], cwd=work, env={**os.environ, **env}, check=True)
    assert log.read_text().count("socket.bind") == 2


SHORT = ("--epochs", "1", "--proxy-images", "32")


@pytest.mark.nightly  # an ablation beside it opens none in CI
def test_a_search_its_report_and_its_finalists_in_workers_open_no_socket(watched):
    assert watched("search", "--space", "swin_t", "--trials", "2", "--study", "demo", "--workers", "2", *SHORT) == []
    assert watched("report", "demo") == []
    assert watched("finalists", "demo", "--top", "1", "--seeds", "1", "--workers", "2") == []


@pytest.mark.slow
def test_an_ablation_opens_no_socket(watched):
    assert watched("ablate", "shift", "--seeds", "1", "--study", "table", *SHORT) == []
