"""What a command says in plain text: results on stdout, everything else on stderr, control characters escaped."""

import click

from acmix_nas.printable import printable


def say(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Prints a text; what a terminal would act on is shown instead (`acmix_nas.printable`).

    Args:
        text: One line or several.
        err: Whether it goes to stderr.
        nl: Whether the line ends.
    """
    click.echo(printable(text), err=err, nl=nl)


def say_renamed(old: str, new: str) -> None:
    """Says on stderr that an old spelling is accepted, and which one is in use now."""
    say(f"Note: {old} is now {new}; the old spelling is still accepted.", err=True)


def say_marked(mark: str, text: str, *, color: str) -> None:
    """Prints a line on stdout that begins with a mark of ours, in color on a terminal."""
    click.echo(click.style(mark, fg=color) + printable(text))


def time_text(seconds: float) -> str:
    """A time that is estimated."""
    return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"


def warn_on_stderr() -> None:
    """Lets warnings of Python, and those of the log that no file takes, go to stderr as Python does, but printable."""
    import logging

    from acmix_nas.log_format import PrintableFormatter, PrintableRecord

    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(PrintableFormatter())
    logging.lastResort = handler
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(handler)  # which Python would give one that drops them
    logging.setLogRecordFactory(PrintableRecord)  # Optuna's log, and others, have handlers of their own
