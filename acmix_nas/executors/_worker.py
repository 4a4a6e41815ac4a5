"""A worker process: loads the images once, then trains the jobs that the driver sends."""

import logging
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acmix_nas import plugins
from acmix_nas.arch import Arch
from acmix_nas.errors import DataError
from acmix_nas.executors import Job, Place, Work, write_progress
from acmix_nas.executors._channel import Channel
from acmix_nas.executors._memory import be_killed_first
from acmix_nas.train import Progress

if TYPE_CHECKING:
    from acmix_nas.executors.jobs import HaltRequest

SEND_EVERY_S = 0.25


def run_worker(connection: Connection, shared: Work, place: Place) -> None:
    """Trains job after job until the driver closes the channel; the main function of a worker process."""
    ignore_signals()
    serve(Channel(connection), shared, place)


def ignore_signals() -> None:
    """Leaves signals to the driver, and is killed before the driver when memory runs out."""
    # Ctrl-C goes to every process of the terminal; the driver decides what to do.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    be_killed_first()


def serve(channel: Channel, shared: Work, place: Place) -> None:
    """Loads the images, reports ready, trains job after job until the other end is closed, and exits the process."""
    try:
        _serve(channel, shared, place)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The driver is gone; the last epoch of the running job is in its checkpoint.
        os._exit(0)


class _ChannelHandler(logging.Handler):
    """Sends log records to the driver, which writes them."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        self._channel.send("log", level=record.levelno, text=self.format(record))


def _serve(channel: Channel, shared: Work, place: Place) -> None:
    import torch

    from acmix_nas.executors.jobs import Halted, HaltRequest, run_job

    plugins.leave_working_folder(shared.folder)
    plugins.be_strict()
    plugins.allow(*shared.plugins)
    torch.set_num_threads(place.threads)
    logger = logging.getLogger("acmix_nas")
    logger.addHandler(_ChannelHandler(channel))
    logger.setLevel(logging.INFO)
    logger.propagate = False
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
        step = _StepCallback(channel, job.number, HaltRequest())
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

    def __init__(self, channel: Channel, number: int, halt_request: "HaltRequest") -> None:
        self._channel = channel
        self._number = number
        self._halt_request = halt_request
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
