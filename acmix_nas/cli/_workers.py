"""The options of commands that train with several workers."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from acmix_nas import registry
from acmix_nas.cli._options import command_line
from acmix_nas.cli._parse import parse_amount

Command = TypeVar("Command", bound=Callable[..., Any])

_WORKERS = [
    click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Stop after so many hours."),
    click.option(
        "--executor",
        type=click.Choice(registry.names("executors")),
        help="How networks are trained: in this process, in others, or on a Ray cluster.  [default: by the number of "
        "workers]",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Processes that train on the CPU and share its threads; with --executor ray those of the whole cluster.",
    ),
    click.option(
        "--ray-address",
        metavar="HOST:PORT|auto",
        help="Ray cluster to train on; without it, --executor ray starts Ray on this machine.",
    ),
    click.option(
        "--gpus",
        metavar="all|none|LIST",
        help="GPUs to train on, as 0,1, a process on each.  [default: all]",
    ),
    click.option(
        "--workers-per-gpu", type=click.IntRange(min=1), default=1, show_default=True, help="Processes on each GPU."
    ),
    click.option(
        "--gpus-per-trial",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="GPUs that train each trial together, a process on each (DistributedDataParallel).",
    ),
    click.option(
        "--trial-minutes",
        type=click.FloatRange(min=0, min_open=True),
        help="Stop a trial that trains longer, and go on with the next.  [default: no limit]",
    ),
    click.option(
        "--trial-memory",
        callback=parse_amount,
        metavar="BYTES",
        help="Stop a trial whose worker takes more memory, as 8G, and go on with the next.  [default: with several "
        "workers, for each its share of the machine's]",
    ),
    click.option(
        "--storage",
        metavar="URL",
        envvar="ACMIX_STORAGE",
        help="Database of the study, any that Optuna takes, instead of SQLite in its folder. Environment: "
        "ACMIX_STORAGE.",
    ),
]


def worker_options(command: Command) -> Command:
    """The options of every command that trains with several workers."""
    for option in reversed(_WORKERS):
        command = option(command)
    return command


def check_hidden(executor: str | None, storage: str | None) -> None:
    """Ray shows the command line of a driver on its dashboard and keeps it: no password may stand there.

    Raises:
        UsageError: One does.
    """
    from acmix_nas.errors import UsageError
    from acmix_nas.study.storage import without_password

    typed = command_line()
    if executor == "ray" and storage is not None and without_password(typed) != typed:
        raise UsageError(
            "--executor ray: Ray keeps and shows the command line; name a --storage with a password in the environment "
            "variable ACMIX_STORAGE instead."
        )
