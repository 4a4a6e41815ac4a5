"""What is seen while a network trains: a bar with the time left on a terminal, a line for each epoch everywhere."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from acmix_nas.cli._console import text_column
from acmix_nas.train import Progress as Training

log = logging.getLogger(__name__)

MEMORY_S = 600.0
"""The speed of so many last seconds tells the time that is left."""


class Display:
    """Shows a training.

    Args:
        console: Where to show it.
        silent: Whether it shows nothing: another process does.
    """

    def __init__(self, console: Console, *, silent: bool) -> None:
        self._console = console
        self._silent = silent
        self._bar = Progress(
            text_column("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=silent or not console.is_terminal,
            speed_estimate_period=MEMORY_S,
        )
        self._steps = self._bar.add_task("steps", total=None, visible=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    @contextmanager
    def decoding(self) -> Iterator[Callable[[int, int], None]]:
        """A bar for the decoding of images, shown once there is something to decode."""
        task = self._bar.add_task("decoding images", total=None, visible=False)
        yield lambda done, total: self._bar.update(task, completed=done, total=total, visible=True)
        self._bar.remove_task(task)

    def announce(self, lines: Sequence[str]) -> None:
        """Says what is trained."""
        for line in lines:
            self._say(line)

    def step(self, progress: Training) -> None:
        """An optimizer step was done."""
        last = f", top-1 {progress.scores[-1]:.4f}" if progress.scores else ""
        epoch = f"epoch {min(len(progress.scores) + 1, progress.epochs)} of {progress.epochs}{last}, steps"
        self._bar.update(self._steps, completed=progress.step, total=progress.steps, description=epoch, visible=True)

    def epoch(self, progress: Training) -> None:
        """An epoch was scored and saved."""
        done = len(progress.scores)
        left = sum(progress.seconds) / done * (progress.epochs - done)
        shown = f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left"
        self._say(
            f"epoch {done} of {progress.epochs}  loss {progress.losses[-1]:.4f}  top-1 {progress.scores[-1]:.4f}  "
            f"{progress.seconds[-1]:.1f} s" + (f"  {shown}" if done < progress.epochs else "")
        )

    def _say(self, line: str) -> None:
        if not self._silent:
            log.info(line)
            self._console.print(line, soft_wrap=True)
