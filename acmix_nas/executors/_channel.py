"""Messages between the driver and a worker: one JSON object a line. The driver never waits for the rest of a line."""

import json
import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

READ_BYTES = 1 << 16
MAX_READS = 64
"""Reads from one worker, at most, before the driver turns to the others: a worker may write without end."""
MAX_BYTES = 64 << 20
"""Longest line; a record of 1,000 epochs and 50 blocks has 2 MB."""


class ProtocolError(Exception):
    """The other end sent bytes that are no message."""


class Channel:
    """One end of a pipe.

    Args:
        connection: The end; stays open as long as this object.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._buffer = bytearray()
        self._sending = threading.Lock()

    def send(self, kind: str, **fields: Any) -> None:
        """Sends a message from any thread; waits until all of it is written.

        Raises:
            OSError: The other end is closed.
        """
        left = memoryview(json.dumps({"kind": kind, **fields}).encode() + b"\n")
        with self._sending:
            while left:
                left = left[os.write(self.connection.fileno(), left) :]

    def receive(self) -> dict[str, Any]:
        """Waits for the next message.

        Raises:
            EOFError: The other end is closed.
            OSError: The other end is closed.
        """
        while b"\n" not in self._buffer:
            self._read()
        message: dict[str, Any] = json.loads(self._next_line())
        return message

    def poll(self) -> bool:
        """Whether something has arrived."""
        return b"\n" in self._buffer or self.connection.poll()

    def lines(self) -> Iterator[bytes]:
        """The complete messages that have arrived, not yet parsed.

        Raises:
            EOFError: The other end is closed, and all its messages were read.
            OSError: The other end is closed.
            ProtocolError: A message has no end.
        """
        for _ in range(MAX_READS):
            if not self.connection.poll():
                return
            if b"\n" in self._read():  # what was read before has none, and is not searched again
                while b"\n" in self._buffer:
                    yield self._next_line()
            if len(self._buffer) > MAX_BYTES:
                raise ProtocolError(f"more than {MAX_BYTES} bytes without an end of line")

    def close(self) -> None:
        """Closes this end."""
        self.connection.close()

    def _read(self) -> bytes:
        read = os.read(self.connection.fileno(), READ_BYTES)
        if not read:
            raise EOFError
        self._buffer += read
        return read

    def _next_line(self) -> bytes:
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        return bytes(line)
