"""A command that is killed at a write: at each of its writes, one after another, or what each such kill leaves.

A write is anything that changes what a kill leaves behind: a file or folder that is made, opened for writing, renamed
or removed, data that is made safe on the disk, and a statement or a commit of SQLite. The product knows nothing of
this: the hooks are Python's audit events, `io.open`, `os.fsync` and SQLAlchemy's events, set in a process of the test.
"""

import builtins
import hashlib
import io
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import fork_server
import warm_commands

fork_server.preload("kills")

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
READS = ("SELECT", "PRAGMA")
NO_CONTENT = re.compile(r"log\.txt|\.lock|\.study\.db\.begun.*")
"""Files of which only counts that they are there: times are in two, and the other is thrown away."""


def acmix_killed(*line: object, says: Path, folder: Path, at: int) -> BaseProcess:
    """Runs a command that is killed before write number `at` (from 1) below a folder."""
    return fork_server.start(_killed, tuple(map(str, line)), says, folder, at)


def acmix_watched(*line: object, says: Path, folder: Path, states: Path) -> BaseProcess:
    """Runs a command, and copies what a kill would leave of a folder: a folder of `states` for each different state."""
    return fork_server.start(_watched, tuple(map(str, line)), says, folder, states)


def acmix_counted(*line: object, says: Path, folder: Path, states: Path) -> BaseProcess:
    """Runs a command, and makes an empty folder of `states` for each write."""
    return fork_server.start(_counted, tuple(map(str, line)), says, folder, states)


def restore(state: Path, folder: Path) -> None:
    """Makes the folder what it was when that state was copied."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(state, folder, symlinks=True)


@dataclass
class Writes:
    """Counts the writes of this process below a folder.

    Attributes:
        folder: The folder.
        before: Called with the number of the write that comes.
        torn: Called when data is about to be made safe: file, and its length when it was opened or last made safe.
    """

    folder: Path
    before: Callable[[int], None]
    torn: Callable[[Path, int], None] = lambda *_: None
    count: int = 0
    _lengths: dict[str, int] = field(default_factory=dict)
    _busy: bool = False

    def install(self) -> None:
        """From now on, until the process ends."""
        from sqlalchemy import Engine, event

        event.listen(Engine, "before_cursor_execute", self._statement)
        event.listen(Engine, "commit", lambda _: self._come())
        builtins.open = io.open = self._opening(io.open)
        os.fsync = self._syncing(os.fsync)
        sys.addaudithook(self._hear)

    def _come(self) -> None:
        if not self._busy:
            self._busy = True
            self.count += 1
            self.before(self.count)
            self._busy = False

    def _hear(self, event: str, values: tuple[Any, ...]) -> None:
        if self._busy or not (event == "open" or event in CHANGES):
            return
        if event == "open":
            path, _, flags = values
            if not flags & WRITING or not self._below(path):
                return
            file = Path(self._path(path))
            self._lengths[str(file)] = file.stat().st_size if file.exists() else 0
            self._come()
        elif self._below(values[0]):
            self._come()

    def _statement(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(READS):
            self._come()

    def _opening(self, opens: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *values: Any, **options: Any) -> Any:
            stream = opens(file, mode, *values, **options)
            if set(mode) & set("wx") and self._below(file):
                self._come()  # emptied, and nothing written
            return stream

        return opened

    def _syncing(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(stream: Any) -> None:
            number = stream if isinstance(stream, int) else stream.fileno()
            path = Path(f"/proc/self/fd/{number}").readlink()
            if not self._busy and self._below(path):
                self._busy = True
                self.torn(path, self._lengths.get(str(path), 0))
                self._busy = False
                self._come()
            sync(stream)
            if str(path) in self._lengths:  # what was made safe is not lost by a kill at the next time
                self._lengths[str(path)] = path.stat().st_size

        return synced

    def _below(self, path: Any) -> bool:
        return not isinstance(path, int) and Path(self._path(path)).is_relative_to(self.folder)

    @staticmethod
    def _path(path: Any) -> str:
        return os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (without a look at the disk)


def _killed(line: tuple[str, ...], says: Path, folder: Path, at: int) -> None:
    def kill(count: int) -> None:
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    Writes(folder, kill).install()
    warm_commands.become(line, says, first=warm_commands.without_timing)


def _counted(line: tuple[str, ...], says: Path, folder: Path, states: Path) -> None:
    states.mkdir(parents=True)
    Writes(folder, lambda count: (states / f"{count:04d}").mkdir()).install()
    warm_commands.become(line, says, first=warm_commands.without_timing)


def _watched(line: tuple[str, ...], says: Path, folder: Path, states: Path) -> None:
    seen: set[str] = set()

    def copy(count: int, name: str = "") -> None:
        digest = _digest(folder)
        if digest not in seen:
            seen.add(digest)
            shutil.copytree(folder, states / f"{count:04d}{name}", symlinks=True)

    def tear(path: Path, length: int) -> None:
        """Half of what was added to the file is there."""
        content = path.read_bytes()
        path.write_bytes(content[: (length + len(content)) // 2])
        copy(writes.count, "-torn")
        path.write_bytes(content)

    states.mkdir(parents=True)
    writes = Writes(folder, copy, tear)
    writes.install()
    warm_commands.become(line, says, first=warm_commands.without_timing)


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(str(path.relative_to(folder)).encode() + b"\0")
        if path.is_file() and not NO_CONTENT.fullmatch(path.name):
            found.update(path.read_bytes())
    return found.hexdigest()
