"""Plug-ins by file name: a new file in a folder is a new name, and listing imports nothing."""

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from acmix_nas import plugins
from acmix_nas.errors import AcmixError


@cache
def names(folder: str, mark: str | None = None) -> tuple[str, ...]:
    """The names that a folder of the package offers, sorted.

    Args:
        folder: Dotted path below `acmix_nas`, for example "operators.attention".
        mark: A name that the file has to define too, as `MAP_WIDE = True`; none if None.

    Returns:
        The stems of the public Python files there that define what a plug-in must have (`plugins.PROTOCOLS`): other
        modules of the package may stand in the same folder.
    """
    here = Path(__file__).parent.joinpath(*folder.split("."))
    needed = [*list(plugins.PROTOCOLS.get(folder, ()))[:1], *([mark] if mark else [])]
    public = (file for file in here.glob("*.py") if not file.stem.startswith("_"))
    return tuple(sorted(file.stem for file in public if all(_defines(file, name) for name in needed)))


def _defines(file: Path, name: str) -> bool:
    text = file.read_text(encoding="utf-8")
    return re.search(rf"^((def|class) {name}\b|{name} *[:=])", text, re.MULTILINE) is not None


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
