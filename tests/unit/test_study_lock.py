"""A folder is one process's: whoever it is says so, and a log that is taken away takes no lock with it."""

import errno
import fcntl
import json
import logging
import multiprocessing
import os
import platform
from pathlib import Path

import pytest

from acmix_nas.errors import StudyError
from acmix_nas.study import lock
from acmix_nas.study.folder import LOG, at_work, is_at_work
from acmix_nas.study.lock import LOCK


def test_the_owner_is_named_and_the_line_stops_it(tmp_path):
    folder = tmp_path / "a study's"
    folder.mkdir()
    with at_work(folder):
        owner = json.loads((folder / LOCK).read_text())
        assert (owner["pid"], owner["host"]) == (os.getpid(), platform.node())
        with pytest.raises(StudyError) as caught, at_work(folder):
            pass
    assert f"process {os.getpid()} on {platform.node()}, since 20" in str(caught.value)
    assert str(caught.value).endswith(f"""acmix stop '{tmp_path}/a study'"'"'s'""")
    assert [path.name for path in folder.iterdir()] == [LOG]


def test_a_rotated_log_keeps_the_lock(tmp_path):
    log = logging.getLogger("acmix_nas.test")
    with at_work(tmp_path):
        log.info("before")
        (tmp_path / LOG).rename(tmp_path / "log.txt.1")
        assert is_at_work(tmp_path)
        with pytest.raises(StudyError, match="another process"), at_work(tmp_path):
            pass
        log.info("after")
    assert "before" in (tmp_path / "log.txt.1").read_text()
    assert "after" in (tmp_path / LOG).read_text()
    assert not is_at_work(tmp_path)


def test_a_driver_of_the_first_version_is_seen_and_sees_us(tmp_path):
    with (tmp_path / LOG).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert is_at_work(tmp_path)
        with pytest.raises(StudyError, match="another process"), at_work(tmp_path):
            pass
    with at_work(tmp_path), (tmp_path / LOG).open("a") as stream, pytest.raises(BlockingIOError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_lock_of_a_killed_driver_is_taken_over(tmp_path):
    (tmp_path / LOCK).write_text('{"pid": 1, "host": "elsewhere", "started": "long ago"}\n')
    assert not is_at_work(tmp_path)
    with at_work(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": "x"}', "\x00\xff"])
def test_a_malformed_lock_owner_is_not_named(tmp_path, text):
    with at_work(tmp_path):
        (tmp_path / LOCK).write_text(text)
        with pytest.raises(StudyError, match="another process is working on") as caught, at_work(tmp_path):
            pass
        assert "(process" not in str(caught.value)


def _count(folder: Path, places: int, done) -> None:
    for _ in range(places):
        while True:
            try:
                with at_work(folder):
                    count = int((folder / "count").read_text())
                    (folder / "count").write_text(str(count + 1))
                    break
            except StudyError:
                continue
    done.put(None)


@pytest.mark.slow
def test_two_are_never_in_at_once(tmp_path):
    (tmp_path / "count").write_text("0")
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    others = [context.Process(target=_count, args=(tmp_path, 40, done)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join(200)
    assert (tmp_path / "count").read_text() == "120"


def test_a_file_system_without_locks_is_one_error(tmp_path, monkeypatch):
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    with pytest.raises(StudyError, match=r"cannot be locked: No locks available.*--out"), at_work(tmp_path):
        pass


def test_a_path_that_is_not_a_folder_is_one_error(tmp_path):
    with pytest.raises(StudyError, match="cannot be read"), at_work(tmp_path / "no such"):
        pass
    (tmp_path / LOCK).mkdir()
    with pytest.raises(StudyError, match="cannot be written"), at_work(tmp_path):
        pass
