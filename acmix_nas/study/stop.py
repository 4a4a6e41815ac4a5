"""Why a study should stop: a signal, `acmix stop`, or the time is up. It ends after the running epochs."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from acmix_nas.study.folder import STOP

LOOK_EVERY_S = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

TIME_IS_UP = "the time is up"


class Stop:
    """Whether a study was asked to stop.

    Attributes:
        reason: Why; None while it was not.

    Args:
        folder: The study's folder, where `acmix stop` leaves its file; None for no such file.
        hours: The study is stopped after this many hours.
    """

    def __init__(self, folder: Path | None = None, *, hours: float | None = None) -> None:
        self.reason: str | None = None
        self._file = folder / STOP if folder else None
        self._end_s = None if hours is None else time.monotonic() + 3600 * hours
        self._look_s = 0.0

    def check(self) -> str | None:
        """Looks for the file and at the clock, once a second at most; returns `reason`."""
        now_s = time.monotonic()
        if self.reason is None and now_s >= self._look_s:
            self._look_s = now_s + LOOK_EVERY_S
            if self._end_s is not None and now_s >= self._end_s:
                self.reason = TIME_IS_UP
            elif self._file is not None and self._file.exists():
                self.reason = "acmix stop"
        return self.reason

    @contextmanager
    def hearing_signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and SIGHUP ask to stop; a second one interrupts at once."""

        def hear(number: int, frame: FrameType | None) -> None:
            if self.reason not in (None, TIME_IS_UP):
                raise KeyboardInterrupt
            self.reason = signal.Signals(number).name

        before = {number: signal.signal(number, hear) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
