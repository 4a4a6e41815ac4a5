"""What goes on around a running study: its presence for `acmix status`, its page every few minutes, its end."""

import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acmix_nas.arch import Arch
from acmix_nas.cli._display import StudyDisplay
from acmix_nas.errors import AcmixError, StudyError
from acmix_nas.executors import WorkerProgress
from acmix_nas.fields import COUNT, MAPPING, NUMBER, TEXT, Origin, list_of, maybe
from acmix_nas.files import write_text
from acmix_nas.record import TrialRecord
from acmix_nas.report import View, render
from acmix_nas.study.stop import Stop
from acmix_nas.study.study import Study
from acmix_nas.train import Progress

log = logging.getLogger(__name__)

RUNNING = "running.json"
TOLD_EVERY_S = 2.0
RENDERED_EVERY_S = 180.0
TOLD = {"pid": COUNT, "host": TEXT, "left_s": maybe(NUMBER), "trials": list_of(MAPPING)}
TOLD_TRIAL = {"number": COUNT, "label": TEXT, "epoch": COUNT, "epochs": COUNT}


@dataclass(slots=True)
class _Now:
    """A trial under way."""

    number: int
    label: str
    epoch: int = 0
    epochs: int = 0


@dataclass(slots=True)
class Follower:
    """`Callbacks` that also keep others informed.

    Attributes:
        display: What the user sees.
        study: The study.
        stop: Whether it was asked to stop.
        interrupts: Whether a stop is an interrupt raised here, for a loop that does not ask itself.
        view: How the table of the page is shown.
    """

    display: StudyDisplay
    study: Study
    stop: Stop
    interrupts: bool
    view: View | None = None
    _now: dict[int, _Now] = field(default_factory=dict)
    _last: int = 0
    _told_s: float = 0.0
    _rendered_s: float = field(default_factory=time.monotonic)
    _said: bool = False
    _halting_from: int | None = None

    def note(self, text: str) -> None:
        """Something beside the trials is done now."""
        self.display.note(text)

    def begin(self, number: int, label: str, arch: Arch) -> None:
        """A trial begins, or goes on."""
        if self.interrupts and self.stop.check():
            raise KeyboardInterrupt
        self._now[number], self._last = _Now(number, label), number
        self.display.begin(number, label, arch)

    def step(self, progress: Progress) -> None:
        """An optimizer step was done."""
        self.display.step(progress)
        number = progress.number if isinstance(progress, WorkerProgress) else self._last
        if number in self._now:
            epoch = min(len(progress.scores) + 1, progress.epochs)
            self._now[number].epoch, self._now[number].epochs = epoch, progress.epochs
        self._tell()
        if self.stop.check():
            self._say_stopping()
            if self.interrupts:
                self._interrupt_after_epoch(progress)

    def pause(self, record: TrialRecord) -> None:
        """A trial reached a rung and waits there."""
        self._now.pop(record.number, None)
        self.display.pause(record)

    def end(self, record: TrialRecord) -> None:
        """A trial ended and is stored."""
        self._now.pop(record.number, None)
        self.display.end(record)
        if time.monotonic() - self._rendered_s > RENDERED_EVERY_S:
            self._rendered_s = time.monotonic()
            with _unless_full():  # pictures for a paper take seconds; they wait for the end
                render(self.study.folder, self.study.header, self.study.records(), self.view, figures=())

    def leave(self) -> None:
        """Nothing runs any more."""
        (self.study.folder / RUNNING).unlink(missing_ok=True)

    def _tell(self) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s > TOLD_EVERY_S:
            self._told_s = now_s
            trials = [
                {"number": now.number, "label": now.label, "epoch": now.epoch, "epochs": now.epochs}
                for now in self._now.values()
            ]
            facts = {"pid": os.getpid(), "host": platform.node(), "left_s": self.display.left_s(), "trials": trials}
            with _unless_full():
                write_text(self.study.folder / RUNNING, json.dumps(facts) + "\n")

    def _say_stopping(self) -> None:
        if not self._said:
            self._said = True
            self.note(f"stopping after the running epoch ({self.stop.reason}); Ctrl-C stops at once")

    def _interrupt_after_epoch(self, progress: Progress) -> None:
        if self._halting_from is None:
            self._halting_from = len(progress.scores)
        if len(progress.scores) != self._halting_from:
            raise KeyboardInterrupt


@contextmanager
def _unless_full() -> Iterator[None]:
    """What is written for others to look at stops no training."""
    try:
        yield
    except (AcmixError, OSError) as error:
        log.warning("%s", error)


def read_running(folder: Path) -> dict[str, Any]:
    """What the process at work told last; nothing if it did not yet, or if what lies there is nothing that it tells."""
    origin = Origin(folder / RUNNING, StudyError)
    try:
        found = origin.fields(origin.read(), TOLD, optional=TOLD)
        for number, trial in enumerate(found.get("trials", ())):
            origin.fields(trial, TOLD_TRIAL, path=f"trials[{number}]")
    except StudyError:
        return {}
    return found
