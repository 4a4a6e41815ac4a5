"""Options that several commands share, each with one name and one meaning, and how their values are read."""

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from acmix_nas import plugins, registry
from acmix_nas.cli._say import say_renamed
from acmix_nas.errors import UsageError

NAMED = "acmix_nas.named"
"""Modules that the running command's options name by dotted paths, in the meta data of its context."""
POSITIVE = click.FloatRange(min=0, min_open=True)
FILE = click.Path(dir_okay=False, path_type=Path)
STORED_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
Command = TypeVar("Command", bound=Callable[..., Any])


class Option(Protocol):
    """A decorator that adds options to a command."""

    def __call__(self, command: Command, /) -> Command:
        """The command with the options."""


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


class ChoiceOrPath(click.Choice[str]):
    """One of some names, or the dotted path of something in a module of the user's own."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name or the path."""
        return value if plugins.is_plug_in(value.partition(":")[0]) else super().convert(value, param, ctx)


class ExecutorName(ChoiceOrPath):
    """An executor by its name or dotted path, or a table of finished trainings."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, the path, or table:FILE."""
        return value if value.startswith("table:") else super().convert(value, param, ctx)


def together(*options: Option) -> Option:
    """Several options as one decorator."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def parse_size(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """(height, width) of "224" or "224x160"."""
    if text is None:
        return None
    try:
        sizes = [int(part) for part in text.lower().split("x")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise click.BadParameter(
            f"an input size is a height, or a height and a width, e.g. 224 or 224x160; not {text!r}."
        )
    return sizes[0], sizes[-1]


def parse_amount(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """A positive count as 5G, 28.5M or 4500000000."""
    if text is None:
        return None
    units = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    try:
        value = float(text[:-1]) * units[text[-1].upper()] if text[-1:].upper() in units else float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise click.BadParameter(f"a number above 0, optionally followed by K, M, G or T, e.g. 5G; not {text!r}.")
    return value


def name_modules(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    """Lets the module of a typed dotted path be imported, as --plugin does: the user named it."""
    module, colon, _ = (path or "").partition(":")
    if colon and plugins.is_plug_in(module):
        plugins.allow(module)
        context.meta[NAMED] = (*context.meta.get(NAMED, ()), module)
    return path


def name_module(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """The same for what is a whole module: an executor, a head."""
    name_modules(context, parameter, f"{name}:")
    return name


def _allow(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> None:
    plugins.allow(*names)
    context.meta[str(parameter.name)] = names  # the next command says it again: no study keeps what it may load


def _parse_space(context: click.Context, parameter: click.Parameter, text: str) -> str:
    """The name of a space that can be read: a wrong file is reported before torch is loaded, which takes seconds."""
    from acmix_nas.space import load_space

    load_space(text)
    return text


def source(text: str, *names: str) -> Option:
    """--data, the images."""
    return click.option(
        "--data",
        *names,
        metavar="SOURCE",
        envvar="ACMIX_DATA",
        callback=name_modules,
        help=f"{text} Environment: ACMIX_DATA.",
    )


def count(name: str, text: str, **attributes: Any) -> Option:
    """A whole number from 1 up."""
    return click.option(name, type=click.IntRange(min=1), help=text, **attributes)


def seed(text: str, **attributes: Any) -> Option:
    """--seed, a whole number from 0 up."""
    return click.option("--seed", type=click.IntRange(min=0), help=text, **attributes)


def size(text: str, name: str = "--input-size", **attributes: Any) -> Option:
    """Height and width in pixels."""
    return click.option(name, callback=parse_size, metavar="H[xW]", help=text, **attributes)


def form(default_text: str = "", **attributes: Any) -> Option:
    """--form of what is timed."""
    return click.option(
        "--form",
        type=click.Choice(["paper", "train", "merged"]),
        help="paper: the named implementation, step by step; train: the fast form that a network uses by default; "
        f"merged: folded for deployment.{default_text}",
        **attributes,
    )


def _folder_option(name: str, text: str) -> Option:
    return click.option(
        name,
        type=click.Path(file_okay=False, path_type=Path),
        envvar="ACMIX_OUT",
        default=Path("reports"),
        help=f"{text} Environment: ACMIX_OUT.",
    )


out = _folder_option("--out", "Folder that the study folders are written to.")
reports = _folder_option("--reports", "Folder that contains the study folders, to find a STUDY by its name.")
json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout instead of tables.")
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    help="Device to compute on; auto uses CUDA if there is a GPU.",
)
space = click.option(
    "--space",
    required=True,
    metavar="NAME|FILE",
    callback=_parse_space,
    help="Name from `acmix spaces`, or a YAML file.",
)
data = source(
    "Images: a folder with train/CLASS/* and val/CLASS/*, a store from `acmix data subset`, or another source that "
    "`acmix data describe` can read. Default: the embedded Fashion-MNIST subset; for segmentation, scenes composed of "
    "it."
)
moved_data = source("New location of the study's images, if they have moved.")
plugin = click.option(
    "--plugin",
    multiple=True,
    expose_value=False,
    callback=_allow,
    is_eager=True,  # before a space is read that names the module
    metavar="MODULE",
    help="Dotted path of your own module on PYTHONPATH, e.g. my_lab.attention, which the files, spaces and records "
    "of this command may import. Repeatable. Environment: ACMIX_PLUGINS, separated by commas.",
)
storage = click.option(
    "--storage",
    metavar="URL",
    envvar="ACMIX_STORAGE",
    help="URL of the study's database, if it is not study.db in its folder. No other database is opened without it. "
    "Environment: ACMIX_STORAGE.",
)
proxy = click.option("--proxy", help="Proxy of the space.  [default: gpu or cpu, by device]")
task = click.option(
    "--task",
    metavar="TASK",
    callback=name_modules,
    help="Task that the networks learn: classification, segmentation, or your own by its dotted path, e.g. "
    "my_lab.regression:TASK.  [default: the space's, mostly classification]",
)
head = click.option(
    "--head",
    type=ChoiceOrPath(registry.names("heads")),
    callback=name_module,
    help="Head of --task segmentation, or your own by its dotted path.  [default: semantic_fpn]",
)
stored_task = together(
    click.option("--task", metavar="TASK", help="Task of the study; it is stored there, and may be left out."),
    click.option("--head", metavar="HEAD", help="Head of its networks; it is stored there, and may be left out."),
)
"""Of commands that go on with what a study has: they may be named, and must be the study's."""
metric = click.option(
    "--metric",
    metavar="METRIC",
    callback=name_modules,
    help="Metric that compares the networks: one of the task's, or your own by its dotted path, e.g. "
    "my_lab.metrics:BALANCED.  [default: the task's first; for classification top1]",
)
execution = together(
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        default="float32",
        help="Weights and images are converted to this dtype. In training, weights stay in float32 and autocast "
        "uses it.",
    ),
    click.option("--channels-last/--no-channels-last", default=True, help="Memory format."),
    count("--threads", "Number of CPU threads.  [default: torch's choice]"),
    device,
    click.option(
        "--features-only", is_flag=True, help="Output the maps of the stages, as for detection, without the head."
    ),
)
"""How networks are run."""
study = together(
    data,
    task,
    head,
    metric,
    count("--epochs", "Passes over the training images.  [default: the proxy's]"),
    seed("Seed of image draws, weights and image order.  [default: 0]"),
    proxy,
    count("--proxy-images", "Number of training images, drawn evenly from the classes.  [default: the proxy's]"),
    click.option("--study", help="Name of the study and of its folder.  [default: numbered, e.g. swin_t-001]"),
    out,
    click.option("--resume", is_flag=True, help="Continue the study --study, or the newest one."),
    device,
    json,
)
"""Of every command that trains networks in a study."""
places = together(
    click.option(
        "--executor",
        type=ExecutorName(registry.names("executors")),
        callback=name_module,
        help="Where networks train: in this process (serial), in other processes, or on a Ray cluster. In a search, "
        "table:FILE takes finished trainings from a trials.jsonl instead.  [default: by the number of workers]",
    ),
    count(
        "--workers",
        "Number of processes that train on the CPU and share its threads; with --executor ray, on the whole cluster.  "
        "[default: one for each thread, if memory is enough and training takes longer than their start]",
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
    count("--workers-per-gpu", "Number of processes on each GPU.", default=1),
    count("--gpus-per-trial", "Number of GPUs that train one trial together (DistributedDataParallel).", default=1),
    click.option(
        "--trial-minutes",
        type=POSITIVE,
        help="Stop a trial that trains longer and continue with the next.  [default: no limit]",
    ),
    click.option(
        "--trial-memory",
        callback=parse_amount,
        metavar="BYTES",
        help="Stop a trial whose worker uses more memory, e.g. 8G, and continue with the next.  [default: with "
        "several workers, an equal share of the machine's memory]",
    ),
)
"""Where networks train."""
workers = together(
    click.option("--hours", type=POSITIVE, help="Stop after this many hours."),
    places,
    click.option(
        "--storage",
        metavar="URL",
        envvar="ACMIX_STORAGE",
        help="URL of a database for the study, as in Optuna, instead of SQLite in its folder. Environment: "
        "ACMIX_STORAGE.",
    ),
)
"""Of every command that trains a study with several workers."""


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
    if executor == "ray" and storage is not None and kept_command_line() != command_line():
        raise UsageError(
            "--executor ray: Ray keeps and shows the command line; name a --storage with a password in the environment "
            "variable ACMIX_STORAGE instead."
        )
