"""Plug-ins by file name: a new file in a folder is a new name, and listing imports nothing."""

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from acmix_nas import plugins
from acmix_nas.errors import AcmixError


@cache
def names(folder: str) -> tuple[str, ...]:
    """The names that a folder of the package offers, sorted.

    Args:
        folder: Dotted path below `acmix_nas`, for example "operators.attention".

    Returns:
        The stems of the public Python files there that define what a plug-in must have (`plugins.PROTOCOLS`): other
        modules of the package may stand in the same folder.
    """
    here = Path(__file__).parent.joinpath(*folder.split("."))
    return tuple(sorted(f.stem for f in here.glob("*.py") if not f.stem.startswith("_") and _is_plug_in(folder, f)))


def _is_plug_in(folder: str, file: Path) -> bool:
    """Whether the file's text defines the first name of the folder's protocol."""
    protocol = plugins.PROTOCOLS.get(folder)
    if protocol is None:
        return True
    name = next(iter(protocol))
    return (
        re.search(rf"^((def|class) {name}\b|{name} *[:=])", file.read_text(encoding="utf-8"), re.MULTILINE) is not None
    )


def known(folder: str, name: str) -> bool:
    """Whether `name` is a file of `folder` or the dotted path of a user's own module."""
    return name in names(folder) or plugins.is_plug_in(name)


def load(folder: str, name: str) -> ModuleType:
    """The module behind a name.

    Args:
        folder: Dotted path below `acmix_nas`.
        name: A file name there, or the dotted path of a module of the user's own ("my_lab.attention").

    Raises:
        AcmixError: There is no such file, or the user's module may not or cannot be imported (`acmix_nas.plugins`).
    """
    if name in names(folder):
        return import_module(f"acmix_nas.{folder}.{name}")
    if not plugins.is_plug_in(name):
        have = ", ".join(names(folder))
        raise AcmixError(
            f"{folder} has no {name!r}; there are {have}. A module of your own is named by its dotted path."
        )
    return plugins.load(folder, name)
