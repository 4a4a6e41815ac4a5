"""A worker: loads the images once, then trains the jobs that the driver sends.

It is one process, or several, the ranks of torch.distributed; to the driver these look like one.
"""

import itertools
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess, SpawnProcess
from pathlib import Path
from typing import Any

import torch

from acmix_nas import plugins
from acmix_nas.arch import Arch
from acmix_nas.errors import DataError
from acmix_nas.executors import Job, Place, Work, write_progress
from acmix_nas.executors._channel import Channel
from acmix_nas.executors._start import CAN_FORK
from acmix_nas.executors.jobs import Halted, HaltRequest, run_job
from acmix_nas.machine import keep_freed_memory
from acmix_nas.train import Progress
from acmix_nas.train.ranks import joined

SEND_EVERY_S = 0.25
LOOPBACK = "lo"
"""The ranks of a worker are on one machine; no other machine may reach them."""
OOM_SCORE_ADJ = 500
"""Of 1000; the higher, the earlier Linux kills the process when memory runs out."""


def run_worker(connection: Connection, shared: Work, place: Place) -> None:
    """Trains job after job until the driver closes the channel; the main function of a worker process."""
    _leave_signals()
    _serve(Channel(connection), shared, place)


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
    _leave_signals()
    driver = Channel(connection)
    try:
        for attempt in itertools.count():
            with _ranks(driver, shared, place, folder / f"meeting-{attempt}") as ranks:
                _forward(driver, ranks)
    except (EOFError, OSError):  # the driver is gone, or a rank, and the others cannot train without it
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _leave_signals() -> None:
    """Leaves signals to the driver, and is killed before the driver when memory runs out."""
    # Ctrl-C goes to every process of the terminal; the driver decides what to do.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ), encoding="utf-8")


def _serve(channel: Channel, shared: Work, place: Place) -> None:
    """Loads the images, reports ready, trains job after job until the other end is closed, and exits the process."""
    try:
        _train_jobs(channel, shared, place)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The driver is gone; the last epoch of the running job is in its checkpoint.
        os._exit(0)


def _train_jobs(channel: Channel, shared: Work, place: Place) -> None:
    plugins.leave_working_folder(shared.folder)
    plugins.be_strict()
    plugins.allow(*shared.plugins)
    torch.set_num_threads(place.threads)
    keep_freed_memory()
    pass_on_log(channel.send)
    try:
        setting = shared.made()
    except Exception as error:
        channel.send("broken", error=f"{type(error).__name__}: {error}")
        sys.exit(1)
    channel.send("ready")
    while True:
        message = channel.receive()
        if message["kind"] != "job":
            continue
        job = read_job(message["job"])
        step = _StepCallback(channel, job.number)
        try:
            record = run_job(job, setting, step)
        except Halted:
            channel.send("halted", number=job.number)
        except DataError as error:
            channel.send("broken", error=str(error))
            sys.exit(1)
        else:
            channel.send("ended", number=job.number, record=record.to_dict())


class _StepCallback:
    """Sends the progress to the driver, a few times a second and after each epoch, and receives halt requests."""

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel = channel
        self._number = number
        self._halt_request = HaltRequest()
        self._epoch = -1
        self._sent_s = 0.0

    def __call__(self, progress: Progress) -> None:
        now_s, epoch = time.monotonic(), len(progress.scores)
        if epoch != self._epoch or now_s - self._sent_s > SEND_EVERY_S:
            self._channel.send("step", number=self._number, progress=write_progress(progress))
            self._epoch, self._sent_s = epoch, now_s
        while self._channel.poll():
            if self._channel.receive()["kind"] == "halt":
                self._halt_request.is_set = True
        self._halt_request.check(progress)


def write_job(job: Job) -> dict[str, Any]:
    """A job in plain values.

    Raises:
        PluginError: Its network needs a module that the user did not name.
    """
    return {
        "number": job.number,
        "label": job.label,
        "arch": job.arch.to_dict(),
        "seeds": dict(job.seeds),
        "checkpoint": str(job.checkpoint),
        "until": job.until,
        "plugins": plugins.usable(job.arch.named),
    }


def read_job(values: dict[str, Any]) -> Job:
    """The inverse of `write_job`; allows the plug-ins that the driver's user named."""
    values = dict(values)
    plugins.allow(*values.pop("plugins", ()))
    return Job(**{**values, "arch": Arch.from_dict(values["arch"]), "checkpoint": Path(values["checkpoint"])})


@contextmanager
def _ranks(driver: Channel, shared: Work, place: Place, meeting: Path) -> Iterator[list[Channel]]:
    """The ranks of a place, killed at the end of the block."""
    kind = ForkProcess if CAN_FORK else SpawnProcess
    each = replace(place, threads=max(1, place.threads // place.world_size))
    channels, processes = [], []
    try:
        for rank in range(place.world_size):
            ours, theirs = multiprocessing.Pipe()
            channels.append(Channel(ours))
            inherited = (driver, *channels) if CAN_FORK else ()
            args = theirs, inherited, shared, each, rank, meeting
            process = kind(target=_run_rank, args=args, daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
        yield channels
    finally:
        for process in processes:
            process.kill()
            process.join()
        for channel in channels:
            channel.close()


def _run_rank(
    connection: Connection, inherited: Sequence[Channel], shared: Work, place: Place, rank: int, meeting: Path
) -> None:
    """The main function of a rank.

    It closes the channels that it inherited: the other end of one is told so when nobody holds this end any more.
    """
    for channel in inherited:
        channel.close()
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(place.world_size),
        OMP_NUM_THREADS=str(place.threads),
        GLOO_SOCKET_IFNAME=LOOPBACK,
        NCCL_SOCKET_IFNAME=LOOPBACK,
    )
    _leave_signals()
    with joined(shared.device, meeting=meeting.as_uri()):
        _serve(Channel(connection), shared, place)


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
                elif message["kind"] == "broken" or (
                    message["kind"] == "ended" and message["record"]["status"] == "failed"
                ):
                    driver.send(**message)
                    return
                elif message["kind"] in ("ready", "ended", "halted"):
                    arrived, first_message = arrived + 1, message if channel is ranks[0] else first_message
                    if arrived == len(ranks):
                        driver.send(**first_message)
                        arrived = 0
                elif channel is ranks[0]:
                    driver.send(**message)


def pass_on_log(send: Callable[..., None]) -> None:
    """Sends the log records of this process to the driver, which writes them.

    Args:
        send: Called as `Channel.send`: with "log", `level` and `text`.
    """
    logger = logging.getLogger("acmix_nas")
    logger.addHandler(_SendingHandler(send))
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _SendingHandler(logging.Handler):
    def __init__(self, send: Callable[..., None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send("log", level=record.levelno, text=self.format(record))
