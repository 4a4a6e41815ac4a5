"""Workers that misbehave, for the driver's side of the process executor. They load nothing heavy."""

import json
import os
import signal
import time


def silent_death(connection, shared, place) -> None:
    """Gets ready, takes a job, and is killed, as when memory runs out."""
    tell(connection, kind="ready")
    hear(connection)
    os.kill(os.getpid(), signal.SIGKILL)


def failed_start(connection, shared, place) -> None:
    """Ends before it is ready."""
    os._exit(7)


def babble(connection, shared, place) -> None:
    """Answers a job with what is no message."""
    tell(connection, kind="ready")
    hear(connection)
    say(connection, b"\x80\x04 no JSON at all\n")
    time.sleep(60)


def impostor(connection, shared, place) -> None:
    """Claims to have ended a trial that it was not given."""
    tell(connection, kind="ready")
    hear(connection)
    tell(connection, kind="ended", number=99, record={})
    time.sleep(60)


def half_a_record(connection, shared, place) -> None:
    """Sends a record with nothing in it."""
    tell(connection, kind="ready")
    job = hear(connection)["job"]
    tell(connection, kind="ended", number=job["number"], record={"number": job["number"]})
    time.sleep(60)


def tell(connection, **message) -> None:
    say(connection, json.dumps(message).encode() + b"\n")


def say(connection, content: bytes) -> None:
    while content:
        content = content[os.write(connection.fileno(), content) :]


def hear(connection) -> dict:
    read = b""
    while not read.endswith(b"\n"):
        read += os.read(connection.fileno(), 1 << 16)
    return json.loads(read)
