"""Options that several commands share, each with one name and one meaning."""

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from acmix_nas import plugins, registry
from acmix_nas.cli._parse import ChoiceOrPath, parse_amount, parse_space
from acmix_nas.cli._say import say_renamed
from acmix_nas.errors import UsageError

NAMED = "acmix_nas.named"
"""Modules that the running command's options name by dotted paths, in the meta data of its context."""
Command = TypeVar("Command", bound=Callable[..., Any])


class RenamingCommand(click.Command):
    """A command that still takes options by the names they had, and says which they have now.

    Args:
        renamed: Former name -> present name.
    """

    def __init__(self, *args: Any, renamed: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._renamed = renamed

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the words after the command."""
        return super().parse_args(ctx, [self._present(word) for word in args])

    def _present(self, word: str) -> str:
        name, equals, value = word.partition("=")
        if name not in self._renamed:
            return word
        say_renamed(name, self._renamed[name])
        return self._renamed[name] + equals + value


device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device to compute on; auto uses CUDA if there is a GPU.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout instead of tables.")


def _folder_option(name: str, text: str) -> Callable[[Command], Command]:
    return click.option(
        name,
        type=click.Path(file_okay=False, path_type=Path),
        envvar="ACMIX_OUT",
        default=Path("reports"),
        show_default=True,
        help=f"{text} Environment: ACMIX_OUT.",
    )


out_option = _folder_option("--out", "Folder that the study folders are written to.")
reports_option = _folder_option("--reports", "Folder that contains the study folders, to find a STUDY by its name.")
space_option = click.option(
    "--space",
    required=True,
    metavar="NAME|FILE",
    callback=parse_space,
    help="Name from `acmix spaces`, or a YAML file.",
)


def name_modules(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    """Lets the module of a typed dotted path be imported, as --plugin does: the user named it."""
    module, colon, _ = (path or "").partition(":")
    if colon and plugins.is_plug_in(module):
        plugins.allow(module)
        context.meta[NAMED] = (*context.meta.get(NAMED, ()), module)
    return path


def _name_executor(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """The same for an executor, which is a whole module."""
    name_modules(context, parameter, f"{name}:")
    return name


data_option = click.option(
    "--data",
    metavar="SOURCE",
    envvar="ACMIX_DATA",
    callback=name_modules,
    help="Images: a folder with train/CLASS/* and val/CLASS/*, a store from `acmix data subset`, or another source "
    "that `acmix data describe` can read. Default: the embedded Fashion-MNIST subset. Environment: ACMIX_DATA.",
)
moved_data_option = click.option(
    "--data",
    metavar="SOURCE",
    envvar="ACMIX_DATA",
    callback=name_modules,
    help="New location of the study's images, if they have moved. Environment: ACMIX_DATA.",
)


def _allow(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> None:
    plugins.allow(*names)
    context.meta[str(parameter.name)] = names  # the next command says it again: no study keeps what it may load


plugin_option = click.option(
    "--plugin",
    multiple=True,
    expose_value=False,
    callback=_allow,
    is_eager=True,  # before a space is read that names the module
    metavar="MODULE",
    help="Dotted path of your own module on PYTHONPATH, e.g. my_lab.attention, which the files, spaces and records "
    "of this command may import. Repeatable. Environment: ACMIX_PLUGINS, separated by commas.",
)

storage_option = click.option(
    "--storage",
    metavar="URL",
    envvar="ACMIX_STORAGE",
    help="URL of the study's database, if it is not study.db in its folder. No other database is opened without it. "
    "Environment: ACMIX_STORAGE.",
)

_EXECUTION = [
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        default="float32",
        show_default=True,
        help="Weights and images are converted to this dtype. In training, weights stay in float32 and autocast "
        "uses it.",
    ),
    click.option("--channels-last/--no-channels-last", default=True, show_default=True, help="Memory format."),
    click.option("--threads", type=click.IntRange(1), help="Number of CPU threads.  [default: torch's choice]"),
    device_option,
]


def execution_options(command: Command) -> Command:
    """The options of how networks are run."""
    for option in reversed(_EXECUTION):
        command = option(command)
    return command


task_option = click.option(
    "--task",
    metavar="TASK",
    callback=name_modules,
    help="Task that the networks learn: classification, or your own by its dotted path, e.g. my_lab.regression:TASK.",
)
metric_option = click.option(
    "--metric",
    metavar="METRIC",
    callback=name_modules,
    help="Metric that compares the networks: one of the task's, or your own by its dotted path, e.g. "
    "my_lab.metrics:BALANCED.  [default: the task's first; for classification top1]",
)
_STUDY_OPTIONS = [
    data_option,
    task_option,
    metric_option,
    click.option(
        "--epochs", type=click.IntRange(min=1), help="Passes over the training images.  [default: the proxy's]"
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), help="Seed of image draws, weights and image order.  [default: 0]"
    ),
    click.option("--proxy", help="Proxy of the space.  [default: gpu or cpu, by device]"),
    click.option(
        "--proxy-images",
        type=click.IntRange(min=1),
        help="Number of training images, drawn evenly from the classes.  [default: the proxy's]",
    ),
    click.option("--study", help="Name of the study and of its folder.  [default: numbered, e.g. swin_t-001]"),
    out_option,
    click.option("--resume", is_flag=True, help="Continue the study --study, or the newest one."),
    device_option,
    json_option,
]


def study_options(command: Command) -> Command:
    """The options of every command that trains networks in a study."""
    for option in reversed(_STUDY_OPTIONS):
        command = option(command)
    return command


_WORKERS = [
    click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Stop after this many hours."),
    click.option(
        "--executor",
        type=ChoiceOrPath(registry.names("executors")),
        callback=_name_executor,
        help="Where networks train: in this process (serial), in other processes, or on a Ray cluster.  [default: by "
        "the number of workers]",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Number of processes that train on the CPU and share its threads; with --executor ray, on the whole "
        "cluster.",
    ),
    click.option(
        "--ray-address",
        metavar="HOST:PORT|auto",
        help="Ray cluster to train on. Without it, --executor ray starts Ray on this machine.",
    ),
    click.option(
        "--gpus",
        metavar="all|none|LIST",
        help="GPUs to train on, e.g. 0,1, with one process on each.  [default: all]",
    ),
    click.option(
        "--workers-per-gpu",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Number of processes on each GPU.",
    ),
    click.option(
        "--gpus-per-trial",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Number of GPUs that train one trial together (DistributedDataParallel).",
    ),
    click.option(
        "--trial-minutes",
        type=click.FloatRange(min=0, min_open=True),
        help="Stop a trial that trains longer and continue with the next.  [default: no limit]",
    ),
    click.option(
        "--trial-memory",
        callback=parse_amount,
        metavar="BYTES",
        help="Stop a trial whose worker uses more memory, e.g. 8G, and continue with the next.  [default: with "
        "several workers, an equal share of the machine's memory]",
    ),
    click.option(
        "--storage",
        metavar="URL",
        envvar="ACMIX_STORAGE",
        help="URL of a database for the study, as in Optuna, instead of SQLite in its folder. Environment: "
        "ACMIX_STORAGE.",
    ),
]


def worker_options(command: Command) -> Command:
    """The options of every command that trains with several workers."""
    for option in reversed(_WORKERS):
        command = option(command)
    return command


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["acmix", *sys.argv[1:]])


def kept_command_line() -> str:
    """The same for the header of a study, which keeps no password."""
    from acmix_nas.study.storage import without_password

    return without_password(command_line())


def check_hidden(executor: str | None, storage: str | None) -> None:
    """Ray shows the command line of a driver on its dashboard and keeps it: no password may stand there.

    Raises:
        UsageError: One does.
    """
    from acmix_nas.study.storage import without_password

    line = command_line()
    if executor == "ray" and storage is not None and without_password(line) != line:
        raise UsageError(
            "--executor ray: Ray keeps and shows the command line; name a --storage with a password in the environment "
            "variable ACMIX_STORAGE instead."
        )
