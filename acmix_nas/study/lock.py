"""One process at a time works in a folder: it locks a file of its own there, and says in it who it is."""

import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from shlex import quote
from typing import Any

from acmix_nas.errors import StudyError

LOCK = ".lock"
LOG = "log.txt"
"""What version 0.1 locked: its processes are still seen, and see that the folder is taken."""
TRIES = 4


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Holds a folder for this process.

    Raises:
        StudyError: Another process holds it, or nothing can be written there.
    """
    with _file(folder, LOCK) as own, _file(folder, LOG):
        who = {"pid": os.getpid(), "host": platform.node(), "started": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
        with suppress(OSError):  # a full disk: the lock holds without it
            own.truncate(0)
            own.write(json.dumps(who).encode() + b"\n")
        try:
            yield
        finally:
            with suppress(OSError):  # while it is held: who waits for it sees that the name is another file's
                (folder / LOCK).unlink()


def is_held(folder: Path) -> bool:
    """Whether a process holds a folder."""
    return any(_is_locked(folder / name) for name in (LOCK, LOG))


@contextmanager
def _file(folder: Path, name: str) -> Iterator[FileIO]:
    """The file of that name, locked."""
    path = folder / name
    while True:
        try:
            stream = path.open("ab+", buffering=0)
        except OSError as error:
            raise StudyError(
                f"{path} cannot be written: {error.strerror}; a study's folder must be writable."
            ) from error
        with stream:
            if not _lock(stream, path):
                who = _who(folder) if name == LOCK else ""
                raise StudyError(
                    f"another process is working on {folder}{who}; wait for it, or stop it with: acmix stop "
                    f"{quote(str(folder))}"
                )
            if _has_name(stream, path):
                yield stream
                return


def _lock(stream: FileIO, path: Path) -> bool:
    """Locks a file; tries again for a moment, since a process that only checks the lock holds it that long."""
    for _ in range(TRIES):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StudyError(
                    f"{path} cannot be locked: {error.strerror}. Two processes could write one study there; choose a "
                    "folder on another file system with --out."
                ) from error
            time.sleep(0.05)
        else:
            return True
    return False


def _has_name(stream: FileIO, path: Path) -> bool:
    """Whether the file still has that name: the process that held it may have removed it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return False


def _who(folder: Path) -> str:
    """Who holds the folder, in brackets; nothing if it did not say."""
    try:
        owner: dict[str, Any] = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return f" (process {int(owner['pid'])} on {owner['host']!s:.100}, since {owner['started']!s:.30})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
