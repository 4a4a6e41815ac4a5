"""What goes on around a running study: its presence for `acmix status`, its page every few minutes, its end."""

import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from acmix_nas.arch import Arch
from acmix_nas.errors import AcmixError
from acmix_nas.executors.callbacks import Callbacks
from acmix_nas.experiments.status import RUNNING
from acmix_nas.files import write_text
from acmix_nas.record import TrialRecord
from acmix_nas.report import View, render
from acmix_nas.study.stop import Stop
from acmix_nas.study.study import Study
from acmix_nas.train import Progress

log = logging.getLogger(__name__)

WRITTEN_EVERY_S = 2.0
RENDERED_EVERY_S = 180.0


@dataclass(slots=True)
class TimeLeft:
    """Estimates the time that the trials still to come will take, from those begun.

    Args:
        total: Number of trials in all.
        ended: Those that ended before.
    """

    total: int
    ended: int = 0
    _begun: int = 0
    _running: set[int] = field(default_factory=set)
    _paused: set[int] = field(default_factory=set)
    _began_s: float = field(default_factory=time.monotonic)

    def begin(self, number: int) -> None:
        """A trial begins, or goes on."""
        self._begun += number not in self._paused
        self._paused.discard(number)
        self._running.add(number)

    def pause(self, number: int) -> None:
        """A trial waits."""
        self._running.discard(number)
        self._paused.add(number)

    def end(self, number: int) -> None:
        """A trial ended."""
        self._running.discard(number)
        self._paused.discard(number)
        self.ended += 1

    @property
    def reached(self) -> int:
        """Trials that ended or wait."""
        return self.ended + len(self._paused)

    def seconds(self) -> float | None:
        """Seconds left; None while that is unknown."""
        begun = self._begun - len(self._running) / 2
        coming = self.total - self.reached - len(self._running) / 2
        spent_s = time.monotonic() - self._began_s
        return spent_s / begun * coming if self._begun and spent_s > 1 and coming > 0 else None


@dataclass(slots=True)
class Monitor(Callbacks):
    """Keeps others informed of a running study, and passes every call on.

    Attributes:
        callbacks: What the caller sees.
        study: The study.
        stop: Whether it was asked to stop.
        left: The time left.
        view: How the table of the page is shown.
    """

    callbacks: Callbacks
    study: Study
    stop: Stop
    left: TimeLeft
    view: View | None = None
    _now: dict[int, dict[str, Any]] = field(default_factory=dict)
    _written_s: float = 0.0
    _rendered_s: float = field(default_factory=time.monotonic)
    _said: bool = False

    def note(self, text: str) -> None:
        """A line about what is done beside the trials."""
        self.callbacks.note(text)

    def begin(self, number: int, label: str, arch: Arch) -> None:
        """A trial begins, or goes on."""
        self._now[number] = {"number": number, "label": label, "epoch": 0, "epochs": 0}
        self.left.begin(number)
        self.callbacks.begin(number, label, arch)

    def step(self, number: int, progress: Progress) -> None:
        """A trial did an optimizer step."""
        self.callbacks.step(number, progress)
        if number in self._now:
            self._now[number] |= {"epoch": min(len(progress.scores) + 1, progress.epochs), "epochs": progress.epochs}
        self._write()
        if self.stop.check() and not self._said:
            self._said = True
            self.note(f"stopping after the current epoch ({self.stop.reason}); Ctrl-C stops at once")

    def pause(self, record: TrialRecord) -> None:
        """A trial reached a rung and waits there."""
        self._now.pop(record.number, None)
        self.left.pause(record.number)
        self.callbacks.pause(record)

    def end(self, record: TrialRecord) -> None:
        """A trial ended and is stored."""
        self._now.pop(record.number, None)
        self.left.end(record.number)
        self.callbacks.end(record)
        if time.monotonic() - self._rendered_s > RENDERED_EVERY_S:
            self._rendered_s = time.monotonic()
            with _unless_full():  # pictures for a paper take seconds; they wait for the end
                render(self.study.folder, self.study.header, self.study.records(), self.view, figures=())

    def leave(self) -> None:
        """Nothing runs any more."""
        (self.study.folder / RUNNING).unlink(missing_ok=True)

    def _write(self) -> None:
        now_s = time.monotonic()
        if now_s - self._written_s > WRITTEN_EVERY_S:
            self._written_s = now_s
            who, trials = {"pid": os.getpid(), "host": platform.node()}, list(self._now.values())
            facts = {**who, "left_s": self.left.seconds(), "trials": trials}
            with _unless_full():
                write_text(self.study.folder / RUNNING, json.dumps(facts) + "\n")


@contextmanager
def _unless_full() -> Iterator[None]:
    """What is written for others to look at stops no training."""
    try:
        yield
    except (AcmixError, OSError) as error:
        log.warning("%s", error)
