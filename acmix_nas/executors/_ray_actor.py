"""What the Ray executor runs on a node: a worker process like any other, and the way from it to the driver."""

import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from acmix_nas import __version__
from acmix_nas.data import Splits
from acmix_nas.errors import AcmixError
from acmix_nas.executors import Outcome, Place, Work, summary
from acmix_nas.executors._node_folder import Arrays, NodeFolder, load_kept, load_same
from acmix_nas.executors._worker import read_job
from acmix_nas.executors.process import Processes
from acmix_nas.train import Progress

Message = dict[str, Any]


class Relay:
    """An actor with one worker process; it keeps what that says until the driver hears it.

    Checkpoints travel: the driver sends one with a job, and each that the worker writes goes back.

    Args:
        work: What all jobs share.
        place: Threads of the worker; Ray has chosen its GPUs.
        run: Name of the run, the same for all relays.
    """

    def __init__(self, work: Work, place: Place, run: str) -> None:
        self._work = work
        self._place = place
        self._folder = NodeFolder(run)
        self._executor: Processes | None = None
        self._said: list[Message] = []
        self._step: Message | None = None
        self._sent = 0
        self._is_urgent = False
        self._checkpoint = Path()
        logger = logging.getLogger("acmix_nas")
        logger.addHandler(_Kept(self._said))
        logger.setLevel(logging.INFO)
        logger.propagate = False

    def open(self) -> Message:
        """Says where this is, which version it has, and whether it needs the images."""
        here = self._work.source is None or Path(self._work.source).exists()
        return {"node": platform.node(), "version": __version__, "needs_images": not here}

    def start(self, fingerprint: str, facts: Splits | None, fetch: Callable[[], Arrays] | None) -> str | None:
        """Starts the worker; returns what is wrong.

        Args:
            fingerprint: Of the images.
            facts: What the images of `fetch` are.
            fetch: Gets the images, where they are not on this node.
        """
        try:
            load: Callable[[], Splits] = self._work.load
            if fetch is not None and facts is not None:
                load = partial(load_kept, self._folder.keep(fetch), facts)
            work = replace(self._work, setting=None, load=partial(load_same, load, fingerprint))
            self._executor = Processes(work, [self._place]).__enter__()
        except (AcmixError, OSError) as error:
            return str(error)
        return None

    def begin(self, values: Message, checkpoint: bytes | None, pace_s: float) -> list[Message]:
        """Hands a job to the worker, with the checkpoint to go on from; returns what it says first, as `hear`."""
        folder = self._folder.path / f"worker-{os.getpid()}"
        folder.mkdir(exist_ok=True)
        self._checkpoint = folder / f"{values['number']}.ckpt"
        self._sent, self._step = -1, None
        if checkpoint is not None:
            self._checkpoint.write_bytes(checkpoint)
        assert self._executor is not None
        self._executor.submit(read_job({**values, "checkpoint": str(self._checkpoint)}))
        return self.hear(pace_s)

    def hear(self, pace_s: float) -> list[Message]:
        """What the worker says: at once where that is an epoch or an end, else after a while.

        Args:
            pace_s: The while, in seconds.
        """
        assert self._executor is not None
        end_s, self._is_urgent = time.monotonic() + pace_s, False
        while not self._is_urgent and time.monotonic() < end_s:
            try:
                for outcome in self._executor.wait(self._heard):
                    self._end(outcome)
            except AcmixError as error:
                self._say(kind="broken", error=str(error))
        said = [*self._said, *([self._step] if self._step else [])]
        self._said.clear()
        self._step = None
        return said

    def halt(self) -> None:
        """Lets the job stop after its running epoch."""
        if self._executor is not None:
            self._executor.halt()

    def close(self) -> None:
        """Ends the worker and leaves nothing on the node."""
        if self._executor is not None:
            self._executor.__exit__(None, None, None)
        self._folder.leave()

    def _heard(self, number: int, progress: Progress) -> None:
        epoch = len(progress.scores)
        if 0 <= self._sent < epoch:
            self._send_checkpoint(number)
        self._sent = epoch
        self._step = {"kind": "step", "number": number, "progress": summary(progress)}

    def _end(self, outcome: Outcome) -> None:
        number, record = outcome.job.number, outcome.record
        if outcome.lost is not None:
            self._say(kind="lost", number=number, reason=outcome.lost)
        elif outcome.failed is not None:
            self._say(kind="failed", number=number, reason=outcome.failed)
        elif record is None:
            self._say(kind="halted", number=number)
        else:
            if record.status == "paused":
                self._send_checkpoint(number)
            self._say(kind="ended", number=number, record=record.to_dict())
        self._checkpoint.unlink(missing_ok=True)
        self._step = None  # nobody trains it any more

    def _send_checkpoint(self, number: int) -> None:
        if self._checkpoint.is_file():
            self._say(kind="checkpoint", number=number, data=self._checkpoint.read_bytes())

    def _say(self, **message: Any) -> None:
        self._said.append(message)
        self._is_urgent = True


class _Kept(logging.Handler):
    """Puts the log among what the driver hears."""

    def __init__(self, said: list[Message]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append({"kind": "log", "level": record.levelno, "text": self.format(record)})
