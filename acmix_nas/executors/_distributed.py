"""A worker of several processes, the ranks, that train each trial together; to the driver it speaks as one."""

import itertools
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from acmix_nas.executors import Place, Work
from acmix_nas.executors._channel import Line
from acmix_nas.executors._worker import be_left_alone, serve

LOOPBACK = "lo"
"""Ranks of a worker are on one machine; nobody else is to reach them."""


def conduct(connection: Connection, shared: Work, place: Place, folder: Path) -> None:
    """Starts the ranks and stands between them and the driver; the main function of such a worker.

    Args:
        connection: To the driver.
        shared: What all trials share.
        place: Where the worker is.
        folder: An empty one where ranks meet. The driver deletes it, or the worker if the driver is gone.
    """
    os.setpgid(0, 0)  # who kills this group kills the ranks too
    be_left_alone()
    driver = Line(connection)
    try:
        for attempt in itertools.count():
            with _ranks(shared, place, folder / f"meeting-{attempt}") as ranks:
                _relay(driver, ranks)
    except (EOFError, OSError):  # the driver is gone, or a rank, without which the others are of no use
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


@contextmanager
def _ranks(shared: Work, place: Place, meeting: Path) -> Iterator[list[Line]]:
    """Starts as many as the place has, and kills them in the end."""
    context = multiprocessing.get_context("spawn")
    each = replace(place, threads=max(1, place.threads // place.ranks))
    lines, processes = [], []
    try:
        for rank in range(place.ranks):
            ours, theirs = multiprocessing.Pipe()
            process = context.Process(target=_be_rank, args=(theirs, shared, each, rank, meeting), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            lines.append(Line(ours))
        yield lines
    finally:
        for process, line in zip(processes, lines, strict=True):
            process.kill()
            process.join()
            line.close()


def _be_rank(connection: Connection, shared: Work, place: Place, rank: int, meeting: Path) -> None:
    """The main function of a rank."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(place.ranks),
        OMP_NUM_THREADS=str(place.threads),
        GLOO_SOCKET_IFNAME=LOOPBACK,
        NCCL_SOCKET_IFNAME=LOOPBACK,
    )
    from acmix_nas.train.ranks import joined

    be_left_alone()
    with joined(shared.device, meeting=meeting.as_uri()):
        serve(Line(connection), shared, place)


def _relay(driver: Line, ranks: list[Line]) -> None:
    """Passes on what the driver and the first rank say, until a trial failed in a rank: others may wait for it forever.

    That all ranks are ready, or done with a trial, is told when the last one is.

    Raises:
        EOFError: The driver is gone, or a rank.
        OSError: So, too.
    """
    there, agreed = 0, dict[str, Any]()
    lines = {line.connection: line for line in (driver, *ranks)}
    while True:
        for connection in wait(list(lines)):
            line = lines[connection]  # type: ignore[index]
            while line.rings():
                said = line.hear()
                if line is driver:
                    for rank in ranks:
                        rank.tell(**said)
                elif said["kind"] == "broken" or _has_failed(said):
                    driver.tell(**said)
                    return
                elif said["kind"] in ("ready", "ended", "halted"):
                    there, agreed = there + 1, said if line is ranks[0] else agreed
                    if there == len(ranks):
                        driver.tell(**agreed)
                        there = 0
                elif line is ranks[0]:
                    driver.tell(**said)


def _has_failed(said: dict[str, Any]) -> bool:
    return said["kind"] == "ended" and bool(said["record"]["status"] == "failed")
