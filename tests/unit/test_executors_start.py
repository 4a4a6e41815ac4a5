"""Worker processes as they begin: what they have loaded, from where, and their environment."""

import os
from multiprocessing import forkserver
from pathlib import Path

import pytest

from acmix_nas.executors import _start

MODULE = """
import os
from pathlib import Path

LOADED_BY = os.getpid()

def note(file):
    facts = [__file__, LOADED_BY != os.getpid(), os.environ.get("NEW"), os.environ.get("GONE"), os.getcwd()]
    Path(file).write_text("\\n".join(map(str, facts)))
"""


@pytest.fixture
def own_server(monkeypatch):
    """A server that this test starts."""
    server = forkserver.ForkServer()
    for name in ("connect_to_new_process", "ensure_running", "set_forkserver_preload"):
        monkeypatch.setattr(forkserver, name, getattr(server, name))
    monkeypatch.setattr(_start, "PRELOADED", ["preloaded", "acmix_nas.executors._start"])
    yield server
    server._stop()


@pytest.mark.skipif(not _start.CAN_FORK, reason="workers are new interpreters here")
def test_a_worker_is_forked_with_its_modules_from_where_the_driver_has_them(own_server, monkeypatch, tmp_path):
    for name in ("library", "work"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "preloaded.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "library")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("GONE", "set when the server starts")
    import preloaded

    seen = []
    for change in ({}, {"NEW": "a", "GONE": None}):
        file = tmp_path / f"seen{len(seen)}"
        process = _start.start(preloaded.note, file, daemon=True, environment=change)
        process.join()
        assert process.exitcode == 0
        seen.append(file.read_text().splitlines())
    place = str(tmp_path / "library" / "preloaded.py")
    assert seen[0] == [place, "True", "None", "set when the server starts", str(Path.cwd())]
    assert seen[1] == [place, "True", "a", "None", str(Path.cwd())]
    assert os.environ["GONE"] == "set when the server starts"
    assert "PYTHONSAFEPATH" not in os.environ
