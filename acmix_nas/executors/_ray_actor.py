"""The node's side of the executor `ray`: an actor with a worker process, and its messages to the driver."""

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
from acmix_nas.executors import Outcome, Place, Work, write_progress
from acmix_nas.executors._node_folder import Arrays, NodeFolder, load_kept, load_same
from acmix_nas.executors._worker import pass_on_log, read_job
from acmix_nas.executors.process import ProcessExecutor
from acmix_nas.train import Progress

Message = dict[str, Any]


class WorkerActor:
    """An actor with one worker process; it buffers the worker's messages until the driver asks for them.

    The driver sends a checkpoint with a job, and gets back each checkpoint that the worker writes.

    Args:
        work: What all jobs share.
        place: Threads of the worker; Ray has chosen its GPUs.
        run: Name of the run, the same for all actors.
    """

    def __init__(self, work: Work, place: Place, run: str) -> None:
        self._work = work
        self._place = place
        self._folder = NodeFolder(run)
        self._executor: ProcessExecutor | None = None
        self._messages: list[Message] = []
        self._step: Message | None = None
        self._sent = 0
        self._has_news = False
        self._checkpoint = Path()
        pass_on_log(lambda kind, **fields: self._messages.append({"kind": kind, **fields}))

    def open(self) -> Message:
        """The node's name, the version installed there, and whether it needs the images."""
        here = self._work.source is None or Path(self._work.source).exists()
        return {"node": platform.node(), "version": __version__, "needs_images": not here}

    def start(self, fingerprint: str, facts: Splits | None, fetch: Callable[[], Arrays] | None) -> str | None:
        """Starts the worker; returns an error message, or None.

        Args:
            fingerprint: Of the images.
            facts: The splits without their images, for `fetch`.
            fetch: Fetches the images, where this node does not have them.
        """
        try:
            load: Callable[[], Splits] = self._work.load
            if fetch is not None and facts is not None:
                load = partial(load_kept, self._folder.keep(fetch), facts)
            work = replace(self._work, setting=None, load=partial(load_same, load, fingerprint))
            self._executor = ProcessExecutor(work, [self._place]).__enter__()
        except (AcmixError, OSError) as error:
            return str(error)
        return None

    def begin(self, values: Message, checkpoint: bytes | None, pace_s: float) -> list[Message]:
        """Submits a job with the checkpoint to go on from; returns the first messages, as `receive`."""
        folder = self._folder.path / f"worker-{os.getpid()}"
        folder.mkdir(exist_ok=True)
        self._checkpoint = folder / f"{values['number']}.ckpt"
        self._sent, self._step = -1, None
        if checkpoint is not None:
            self._checkpoint.write_bytes(checkpoint)
        assert self._executor is not None
        self._executor.submit(read_job({**values, "checkpoint": str(self._checkpoint)}))
        return self.receive(pace_s)

    def receive(self, pace_s: float) -> list[Message]:
        """The worker's messages: after an epoch or an end at once, else after a while.

        Args:
            pace_s: The while, in seconds.
        """
        assert self._executor is not None
        end_s, self._has_news = time.monotonic() + pace_s, False
        while not self._has_news and time.monotonic() < end_s:
            try:
                for outcome in self._executor.wait(self._on_step):
                    self._end(outcome)
            except AcmixError as error:
                self._add(kind="broken", error=str(error))
        messages = [*self._messages, *([self._step] if self._step else [])]
        self._messages.clear()
        self._step = None
        return messages

    def halt(self) -> None:
        """Lets the job stop after its running epoch."""
        if self._executor is not None:
            self._executor.halt()

    def close(self) -> None:
        """Stops the worker and leaves nothing on the node."""
        if self._executor is not None:
            self._executor.__exit__(None, None, None)
        self._folder.leave()

    def _on_step(self, number: int, progress: Progress) -> None:
        epoch = len(progress.scores)
        if 0 <= self._sent < epoch:
            self._send_checkpoint(number)
        self._sent = epoch
        self._step = {"kind": "step", "number": number, "progress": write_progress(progress)}

    def _end(self, outcome: Outcome) -> None:
        number, record = outcome.job.number, outcome.record
        if outcome.lost is not None:
            self._add(kind="lost", number=number, reason=outcome.lost)
        elif outcome.failed is not None:
            self._add(kind="failed", number=number, reason=outcome.failed)
        elif record is None:
            self._add(kind="halted", number=number)
        else:
            if record.status == "paused":
                self._send_checkpoint(number)
            self._add(kind="ended", number=number, record=record.to_dict())
        self._checkpoint.unlink(missing_ok=True)
        self._step = None  # the job is over

    def _send_checkpoint(self, number: int) -> None:
        if self._checkpoint.is_file():
            self._add(kind="checkpoint", number=number, data=self._checkpoint.read_bytes())

    def _add(self, **message: Any) -> None:
        self._messages.append(message)
        self._has_news = True
