"""Logs whose lines are printable, whatever the names in them; beside `printable`, which loads no logging."""

import logging

from acmix_nas.printable import printable


class PrintableFormatter(logging.Formatter):
    """Formats log lines as `printable`; further lines of a message are indented, so that none looks like another."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, of a record."""
        return printable(super().format(record)).replace("\n", "\n    ")


class PrintableRecord(logging.LogRecord):
    """An entry of a log whose message is printable, for every logger and handler."""

    def getMessage(self) -> str:  # noqa: N802 (logging's name)
        """The message with its arguments."""
        return printable(super().getMessage())
