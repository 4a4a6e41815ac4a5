"""Options that several commands share, each with one name and one meaning."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from acmix_nas import plugins

Command = TypeVar("Command", bound=Callable[..., Any])

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes CUDA where it is.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout instead of tables.")
out_option = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="ACMIX_OUT",
    default=Path("reports"),
    show_default=True,
    help="Folder of study folders. Environment: ACMIX_OUT.",
)

reports_option = click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="ACMIX_OUT",
    default=Path("reports"),
    show_default=True,
    help="Folder of study folders, for STUDY:TRIAL. Environment: ACMIX_OUT.",
)

data_option = click.option(
    "--data",
    metavar="SOURCE",
    envvar="ACMIX_DATA",
    help="Images: a folder with train/CLASS/* and val/CLASS/*, a store of `acmix data subset`, or another source "
    "that `acmix data describe` takes. Default: the embedded Fashion-MNIST subset. Environment: ACMIX_DATA.",
)
moved_data_option = click.option(
    "--data",
    metavar="SOURCE",
    envvar="ACMIX_DATA",
    help="Where the study's images are now, if they have moved. Environment: ACMIX_DATA.",
)


def _allow(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> None:
    plugins.allow(*names)
    context.meta[str(parameter.name)] = names  # the next command says it again: no study keeps what it may load


plugin_option = click.option(
    "--plugin",
    multiple=True,
    expose_value=False,
    callback=_allow,
    metavar="MODULE",
    help="Dotted path of a module of your own that the files, spaces and records of this call may load, as "
    "my_lab.attention; found on PYTHONPATH. Repeatable. Environment: ACMIX_PLUGINS, with commas between.",
)

storage_option = click.option(
    "--storage",
    metavar="URL",
    envvar="ACMIX_STORAGE",
    help="Database of the study, where that is not study.db in its folder: a folder alone has no other one opened. "
    "Environment: ACMIX_STORAGE.",
)

_STUDY_OPTIONS = [
    data_option,
    click.option(
        "--epochs", type=click.IntRange(min=1), help="Passes over the training images; the proxy's own by default."
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Seed of draws, weights and image order.  [default: 0]"),
    click.option("--proxy", help="Proxy of the space; default by device: gpu or cpu."),
    click.option(
        "--proxy-images",
        type=click.IntRange(min=1),
        help="Training images, drawn evenly from the classes; the proxy's own by default.",
    ),
    click.option("--study", help="Name of the study and its folder.  [default: counted up, like swin_t-001]"),
    out_option,
    click.option("--resume", is_flag=True, help="Go on with the study; without --study, with the newest one."),
    device_option,
    json_option,
]


def study_options(command: Command) -> Command:
    """The options of every command that trains networks in a study."""
    for option in reversed(_STUDY_OPTIONS):
        command = option(command)
    return command


def command_line() -> str:
    """The command as it was typed."""
    from shlex import join

    return join(["acmix", *sys.argv[1:]])
