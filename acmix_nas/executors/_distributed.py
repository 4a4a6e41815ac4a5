"""A worker of several processes, the ranks of torch.distributed; to the driver it looks like one process."""

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
from acmix_nas.executors._channel import Channel
from acmix_nas.executors._worker import ignore_signals, serve

LOOPBACK = "lo"
"""The ranks of a worker are on one machine; no other machine may reach them."""


def run_ranks(connection: Connection, shared: Work, place: Place, folder: Path) -> None:
    """Starts the ranks and forwards messages between them and the driver; the main function of such a worker.

    Args:
        connection: To the driver.
        shared: What all trials share.
        place: Where the worker is.
        folder: An empty folder for the files of `init_process_group`. The driver deletes it; the worker does if the
            driver is gone.
    """
    os.setpgid(0, 0)  # a signal to this group reaches the ranks too
    ignore_signals()
    driver = Channel(connection)
    try:
        for attempt in itertools.count():
            with _ranks(shared, place, folder / f"meeting-{attempt}") as ranks:
                _forward(driver, ranks)
    except (EOFError, OSError):  # the driver is gone, or a rank, and the others cannot train without it
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


@contextmanager
def _ranks(shared: Work, place: Place, meeting: Path) -> Iterator[list[Channel]]:
    """The ranks of a place, killed at the end of the block."""
    context = multiprocessing.get_context("spawn")
    each = replace(place, threads=max(1, place.threads // place.world_size))
    channels, processes = [], []
    try:
        for rank in range(place.world_size):
            ours, theirs = multiprocessing.Pipe()
            process = context.Process(target=_run_rank, args=(theirs, shared, each, rank, meeting), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            channels.append(Channel(ours))
        yield channels
    finally:
        for process, channel in zip(processes, channels, strict=True):
            process.kill()
            process.join()
            channel.close()


def _run_rank(connection: Connection, shared: Work, place: Place, rank: int, meeting: Path) -> None:
    """The main function of a rank."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(place.world_size),
        OMP_NUM_THREADS=str(place.threads),
        GLOO_SOCKET_IFNAME=LOOPBACK,
        NCCL_SOCKET_IFNAME=LOOPBACK,
    )
    from acmix_nas.train.ranks import joined

    ignore_signals()
    with joined(shared.device, meeting=meeting.as_uri()):
        serve(Channel(connection), shared, place)


def _forward(driver: Channel, ranks: list[Channel]) -> None:
    """Forwards the driver's messages to all ranks and the first rank's to the driver.

    "ready", "ended" and "halted" go to the driver when the last rank has sent them. Returns when a trial has failed in
    a rank: the others might wait for it forever.

    Raises:
        EOFError: The driver or a rank is gone.
        OSError: The driver or a rank is gone.
    """
    arrived, first_message = 0, dict[str, Any]()
    channels = {channel.connection: channel for channel in (driver, *ranks)}
    while True:
        for connection in wait(list(channels)):
            channel = channels[connection]  # type: ignore[index]
            while channel.poll():
                message = channel.receive()
                if channel is driver:
                    for rank in ranks:
                        rank.send(**message)
                elif message["kind"] == "broken" or _has_failed(message):
                    driver.send(**message)
                    return
                elif message["kind"] in ("ready", "ended", "halted"):
                    arrived, first_message = arrived + 1, message if channel is ranks[0] else first_message
                    if arrived == len(ranks):
                        driver.send(**first_message)
                        arrived = 0
                elif channel is ranks[0]:
                    driver.send(**message)


def _has_failed(message: dict[str, Any]) -> bool:
    return message["kind"] == "ended" and bool(message["record"]["status"] == "failed")
