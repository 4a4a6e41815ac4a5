"""Messages between the driver and a worker: one JSON object on a line. The driver never waits for the rest of one."""

import json
import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

READ_BYTES = 1 << 16
READS = 64
"""The driver reads so often before it turns to others: a worker may talk without an end."""
MOST_BYTES = 64 << 20
"""A record of 1,000 epochs and 50 blocks has 2 MB."""


class GarbageError(Exception):
    """The other end said something that nobody says."""


class Line:
    """One end of a pipe.

    Args:
        connection: The end; kept open with this object.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._read = bytearray()
        self._sending = threading.Lock()

    def tell(self, kind: str, **facts: Any) -> None:
        """Sends a message, whichever thread wants to; waits until all of it is under way.

        Raises:
            OSError: Nobody is at the other end.
        """
        left = memoryview(json.dumps({"kind": kind, **facts}).encode() + b"\n")
        with self._sending:
            while left:
                left = left[os.write(self.connection.fileno(), left) :]

    def hear(self) -> dict[str, Any]:
        """Waits for the next message.

        Raises:
            EOFError: Nobody is at the other end.
            OSError: So, too.
        """
        while b"\n" not in self._read:
            self._take()
        message: dict[str, Any] = json.loads(self._next())
        return message

    def rings(self) -> bool:
        """Whether there is something to hear."""
        return b"\n" in self._read or self.connection.poll()

    def arrived(self) -> Iterator[bytes]:
        """The messages that are there, whole and not yet understood.

        Raises:
            EOFError: Nobody is at the other end any more, and all it said was heard.
            OSError: So, too.
            GarbageError: A message has no end.
        """
        for _ in range(READS):
            if not self.connection.poll():
                return
            if b"\n" in self._take():  # what came before has none, and is not searched again
                while b"\n" in self._read:
                    yield self._next()
            if len(self._read) > MOST_BYTES:
                raise GarbageError(f"more than {MOST_BYTES} bytes without an end of line")

    def close(self) -> None:
        """Hangs up."""
        self.connection.close()

    def _take(self) -> bytes:
        read = os.read(self.connection.fileno(), READ_BYTES)
        if not read:
            raise EOFError
        self._read += read
        return read

    def _next(self) -> bytes:
        line, _, rest = self._read.partition(b"\n")
        self._read = rest
        return bytes(line)
