"""Where rich prints: results on stdout, progress on stderr, plain text in a pipe; no text is taken as markup."""

import sys
from collections.abc import Iterable
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.status import Status
from rich.table import Table
from rich.text import Text

from acmix_nas.printable import printable

PIPE_WIDTH = 200
"""Columns of a table in a pipe: wide enough that nothing is cut."""


def results() -> Console:
    """The console of results."""
    return _Literal(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def progress() -> Console:
    """The console of progress, log and warnings."""
    return _Literal(stderr=True)


def plain_table(*columns: str, **attributes: Any) -> Table:
    """A table without lines."""
    return Table(*columns, box=None, header_style="bold", **attributes)


def text_column(template: str) -> TextColumn:
    """A column of a progress bar that shows a text literally.

    Args:
        template: A format string with fields of rich's task, as "{task.description}".
    """
    return TextColumn(template, markup=False)


def spinner(console: Console, text: str) -> Status:
    """A context in which a terminal shows that something is under way."""
    return console.status(Text(printable(text)))


class DecodingBar:
    """A progress bar for the decoding of images, shown once there is something to decode.

    Args:
        console: Where to show it.
    """

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            text_column("decoding images"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("images", total=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def __call__(self, done: int, total: int) -> None:
        """Shows how many images are decoded, and of how many."""
        self._bar.start()
        self._bar.update(self._task, completed=done, total=total)

    def stop(self) -> None:
        """Takes the bar away."""
        if self._bar.live.is_started:  # where it is not, rich prints an empty line
            self._bar.stop()


class _Literal(Console):
    """A console that shows every text as it is: no markup, no emoji codes, control characters escaped."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is about to be written, piece by piece."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
