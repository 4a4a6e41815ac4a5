"""A worker process: loads the images once, then trains what it is told. It speaks JSON, a line a message."""

import logging
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from acmix_nas import plugins
from acmix_nas.arch import Arch
from acmix_nas.errors import DataError
from acmix_nas.executors import Job, Place, Work, summary
from acmix_nas.executors._channel import Line
from acmix_nas.executors._memory import volunteer
from acmix_nas.train import Progress

TOLD_EVERY_S = 0.25


def work(connection: Connection, shared: Work, place: Place) -> None:
    """Trains job after job until the driver hangs up; the main function of a worker process."""
    be_left_alone()
    serve(Line(connection), shared, place)


def be_left_alone() -> None:
    """Leaves signals to the driver, but goes before others where memory runs out."""
    # Ctrl-C on a terminal goes to every process of it; the driver decides what comes of it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    volunteer()


def serve(line: Line, shared: Work, place: Place) -> None:
    """Loads the images, says so, and trains job after job until nobody is at the other end; then ends the process."""
    try:
        _serve(line, shared, place)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The driver is gone. Nobody hears of what is running now; its last epoch is in its checkpoint.
        os._exit(0)


class _ToDriver(logging.Handler):
    """Sends the log to the driver, which writes it."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        self._line.tell("log", level=record.levelno, text=self.format(record))


def _serve(line: Line, shared: Work, place: Place) -> None:
    import torch

    from acmix_nas.executors.jobs import Halted, Halting, run_job

    plugins.leave_working_folder(shared.folder)
    plugins.be_strict()
    plugins.allow(*shared.plugins)
    torch.set_num_threads(place.threads)
    logger = logging.getLogger("acmix_nas")
    logger.addHandler(_ToDriver(line))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        setting = shared.made()
    except Exception as error:
        line.tell("broken", error=f"{type(error).__name__}: {error}")
        sys.exit(1)
    line.tell("ready")
    while True:
        message = line.hear()
        if message["kind"] != "job":
            continue
        job = read_job(message["job"])
        step = _Step(line, job.number, Halting())
        try:
            record = run_job(job, setting, step)
        except Halted:
            line.tell("halted", number=job.number)
        except DataError as error:
            line.tell("broken", error=str(error))
            sys.exit(1)
        else:
            line.tell("ended", number=job.number, record=record.to_dict())


class _Step:
    """Tells the driver of steps, a few times a second and after each epoch, and hears from it."""

    def __init__(self, line: Line, number: int, halting: Any) -> None:
        self._line = line
        self._number = number
        self._halting = halting
        self._epoch = -1
        self._told_s = 0.0

    def __call__(self, progress: Progress) -> None:
        now_s, epoch = time.monotonic(), len(progress.scores)
        if epoch != self._epoch or now_s - self._told_s > TOLD_EVERY_S:
            self._line.tell("step", number=self._number, progress=summary(progress))
            self._epoch, self._told_s = epoch, now_s
        while self._line.rings():
            if self._line.hear()["kind"] == "halt":
                self._halting.asked = True
        self._halting.check(progress)


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
    """The inverse of `write_job`; the driver says which plug-ins its user named."""
    values = dict(values)
    plugins.allow(*values.pop("plugins", ()))
    return Job(**{**values, "arch": Arch.from_dict(values["arch"]), "checkpoint": Path(values["checkpoint"])})
