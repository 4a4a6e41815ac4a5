"""A worker that commits one fault on each trial, and then behaves. It trains nothing."""

import os
import time
from pathlib import Path

from stray_workers import hear, say, tell

FAULTS = ("hang", "devour", "stammer", "flood", "last_words", "none")
"""What happens on trial 0, 1, ..."""


def work(connection, shared, place) -> None:
    """The main function of the worker process."""
    tell(connection, kind="ready")
    while True:
        job = hear(connection)["job"]
        fault, seen = FAULTS[job["number"]], Path(f"{job['checkpoint']}.seen")
        if fault != "none" and not seen.exists():
            seen.parent.mkdir(exist_ok=True)
            seen.touch()
            globals()[fault](connection, job, shared)
        tell(connection, kind="ended", number=job["number"], record=record(job, shared))


def hang(connection, job, shared) -> None:
    """Never comes back."""
    time.sleep(600)


def devour(connection, job, shared) -> None:
    """Takes memory, page by page."""
    held = []
    while True:
        held.append(b"\1" * (50 << 20))


def stammer(connection, job, shared) -> None:
    """Half a message, and then nothing: whoever waits for its end waits forever."""
    say(connection, b'{"kind": "st')
    time.sleep(600)


def flood(connection, job, shared) -> None:
    """What is no message, without an end."""
    while True:
        say(connection, b"\0" * (1 << 20))


def last_words(connection, job, shared) -> None:
    """Ends its trial well and dies."""
    tell(connection, kind="ended", number=job["number"], record=record(job, shared))
    os._exit(0)


def record(job, shared) -> dict:
    """A record that could be."""
    from acmix_nas.arch import Arch
    from acmix_nas.record import Cost, TrialRecord

    facts = shared.make.keywords
    return TrialRecord(
        number=job["number"],
        status="complete",
        arch=Arch.from_dict(job["arch"]),
        cost=Cost(params=1, macs=1, macs_deploy=1, input_size=224),
        label=job["label"],
        split=facts["split"],
        scores=(0.5,),
        losses=(1.0,),
        mixing=((),),
        seeds=job["seeds"],
        budget=facts["budget"].to_dict(),
        proxy=facts["proxy"].to_dict(),
        data={},
        environment={},
        started="2026-01-01T00:00:00+00:00",
        seconds=1.0,
    ).to_dict()
