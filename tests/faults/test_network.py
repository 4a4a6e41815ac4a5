"""Nobody listens and nobody calls out: what the commands do with sockets, in all of their processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import acmix_nas

HOOK = """
import os, sys

def heard(event, args):
    if event in ("socket.bind", "socket.connect", "socket.getaddrinfo"):
        with open({log!r}, "a") as file:
            file.write(f"{{os.getpid()}} {{event}} {{args[1:] if event != 'socket.getaddrinfo' else args}}\\n")

sys.addaudithook(heard)
"""
"""Python tells of every socket that is bound or connected (https://docs.python.org/3/library/audit_events.html)."""


@pytest.fixture
def watched(tmp_path, few_images):
    """Runs the command with all sockets of it and its workers noted; the notes."""
    site, log = tmp_path / "site", tmp_path / "sockets"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HOOK.format(log=str(log)))
    own = Path(acmix_nas.__file__).parents[1]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(site), str(own)])}
    env["ACMIX_DATA"] = str(few_images)
    work = tmp_path / "work"
    work.mkdir()

    def run(*words: str) -> list[str]:
        line = [sys.executable, *words] if words[0] == "-c" else [sys.executable, "-m", "acmix_nas", *words]
        done = subprocess.run(line, cwd=work, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return log.read_text().splitlines() if log.exists() else []

    return run


def test_a_socket_would_be_noted(watched):
    notes = watched("-c", "import socket; socket.create_server(('127.0.0.1', 0))")
    assert any("socket.bind" in note for note in notes)


SHORT = ("--epochs", "1", "--proxy-images", "32")


@pytest.mark.slow
def test_a_search_with_workers_and_its_report_open_no_socket(watched):
    assert watched("search", "--space", "swin_t", "--trials", "2", "--study", "demo", "--workers", "2", *SHORT) == []
    assert watched("report", "demo") == []


@pytest.mark.slow
def test_finalists_in_workers_open_no_socket(watched):
    assert watched("search", "--space", "swin_t", "--trials", "1", "--study", "demo", *SHORT) == []
    assert watched("finalists", "demo", "--top", "1", "--seeds", "1", "--workers", "2") == []


@pytest.mark.slow
def test_an_ablation_opens_no_socket(watched):
    assert watched("ablate", "shift", "--seeds", "1", "--study", "table", *SHORT) == []
