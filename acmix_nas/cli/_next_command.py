"""Commands that a user can run next: a shell takes each line as it stands."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from acmix_nas.cli._options import NAMED

OUT = Path("reports")
PLACES = (
    "device",
    "executor",
    "workers",
    "ray_address",
    "gpus",
    "workers_per_gpu",
    "gpus_per_trial",
    "trial_minutes",
    "trial_memory",
    "plugin",
)
"""Options that say where a study trains and what it may load, which it does not keep: it may go on elsewhere."""


def command(*words: object) -> str:
    """`acmix` with these words, quoted for a shell."""
    return shlex.join(["acmix", *map(str, words)])


def study_words(folder: Path) -> list[str]:
    """STUDY as most commands take it: the present name of its folder, and where that is."""
    if folder.name.startswith("-"):
        return [path_word(folder)]
    return [folder.name, *out_words(folder.parent)]


def out_words(out: Path) -> list[str]:
    """--out, unless it is what a command without it would take."""
    usual = out == OUT and os.environ.get("ACMIX_OUT") in (None, "", str(OUT))
    return [] if usual else ["--out", str(out)]


def path_word(path: Path | str) -> str:
    """A path that is not taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def typed(names: Iterable[str]) -> list[str]:
    """Those of the options that the running command was called with, as words of a command line."""
    context = click.get_current_context(silent=True)
    if context is None:
        return []
    words = []
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in names and isinstance(option, click.Option) and source is ParameterSource.COMMANDLINE:
            value: Any = {**context.meta, **context.params}[option.name]
            if option.is_flag:
                words.append(option.opts[0] if value or not option.secondary_opts else option.secondary_opts[0])
            else:
                for one in value if option.multiple else [value]:
                    words += [option.opts[0], repr(one) if isinstance(one, float) else str(one)]
    if "plugin" in names:  # a study remembers the dotted paths that it was given, and not that they may be imported
        for module in dict.fromkeys(context.meta.get(NAMED, ())):
            words += ["--plugin", module] if module not in words else []
    return words


def storage_words() -> list[str]:
    """--storage as it was typed; a URL with a password is named in the environment only, never printed."""
    from acmix_nas.study.storage import without_password

    words = typed(("storage",))
    return words if all(without_password(word) == word for word in words) else []
