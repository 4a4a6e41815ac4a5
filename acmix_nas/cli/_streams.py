"""Standard output and standard error that end no command: what nobody reads, or cannot be shown, costs only itself."""

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.ECONNRESET, errno.EIO, errno.EBADF)
"""What the system says where nobody reads any more: a pipe or a socket was closed, a terminal hung up."""
PLAIN = {"±": "+-", "\N{MINUS SIGN}": "-", "×": "x", "·": "*", "…": "...", "→": "->", "–": "-", "—": "-"}  # noqa: RUF001
"""How our own signs are written in an alphabet without them; any other character becomes its escape."""
ERRORS = "acmix.plain"


@contextmanager
def kept_open() -> Iterator[dict[str, OSError]]:
    """Lets a command print to streams that are closed, full, or have another encoding, and go on.

    What nobody reads any more is dropped, and the log says so. A character that the encoding lacks is shown plainly.

    Yields:
        Name of a stream -> why something that was printed there is nowhere, beside that nobody reads it.
    """
    _open_the_closed()
    lost, before = dict[str, OSError](), (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = _forgiving(sys.stdout, "stdout", lost), _forgiving(sys.stderr, "stderr", lost)
    try:
        yield lost
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # closed by the last print
                stream.flush()
        sys.stdout, sys.stderr = before


def _open_the_closed() -> None:
    """Where 0, 1 or 2 is closed the next file would get its number, and then what is printed: the study's database."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (the stream stays)


def _forgiving(stream: TextIO, name: str, lost: dict[str, OSError]) -> TextIO:
    """The stream on the same file; one without a file, as a test's, stays as it is."""
    try:
        stream.flush()
        raw = _Raw(stream.fileno(), name, lost)
    except (OSError, ValueError, AttributeError):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=ERRORS,
        line_buffering=stream.isatty() or bool(getattr(stream, "line_buffering", False)),
    )


class _Raw(io.FileIO):
    """A file that swallows what it cannot take."""

    def __init__(self, number: int, name: str, lost: dict[str, OSError]) -> None:
        super().__init__(number, "wb", closefd=False)
        self._shown = name
        self._lost = lost
        self._is_gone = False

    def write(self, data: Any, /) -> int:
        """Writes, or drops, all of it."""
        size = memoryview(data).nbytes
        if self._is_gone:
            return size
        try:
            while (written := super().write(data)) is None:  # others made the terminal non-blocking
                import select

                select.select([], [self.fileno()], [])
        except OSError as error:
            self._lose(error)
            return size
        return written

    def _lose(self, error: OSError) -> None:
        if error.errno in GONE:
            self._is_gone = True
            import logging

            log = logging.getLogger(__name__)
            log.info("nobody reads %s any more (%s): output to it is dropped", self._shown, error.strerror)
        else:
            self._lost.setdefault(self._shown, error)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in text), error.end


codecs.register_error(ERRORS, _plain)
