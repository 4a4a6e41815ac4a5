"""The progress bar of commands that decode images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from acmix_nas.cli.console import text_column


@contextmanager
def decoding(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for the decoding of images, shown once there is something to decode."""
    bar = Progress(
        text_column("decoding images"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task("images", total=None, visible=False)
    with bar:
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
