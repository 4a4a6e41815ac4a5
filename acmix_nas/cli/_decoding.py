"""What commands that decode images say: how far they are, and what was not read."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from acmix_nas.cli._console import text_column

if TYPE_CHECKING:
    from acmix_nas.data import Splits

log = logging.getLogger(__name__)


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


def image_remarks(splits: "Splits") -> list[str]:
    """Lines on what a source has that is not trained on; the log gets the name of each broken image."""
    lines = [f"Note: {note}." for note in splits.notes]
    if splits.skipped:
        lines.append(f"{len(splits.skipped)} images cannot be decoded and are left out; log.txt names them.")
    for path, reason in splits.skipped:
        log.warning("left out %s: %s", path, reason)
    return lines
