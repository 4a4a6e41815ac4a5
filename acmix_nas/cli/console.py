"""Where things are printed: results on stdout, progress and log on stderr; plain text in a pipe."""

import sys

from rich.console import Console

PIPE_WIDTH = 200
"""Columns of a table in a pipe: wide enough that nothing is cut."""


def results() -> Console:
    """The console of results."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def progress() -> Console:
    """The console of progress, log and warnings."""
    return Console(stderr=True, highlight=False)
