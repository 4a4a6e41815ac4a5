"""Plug-ins by file name: a new file in a folder is a new name, and listing imports nothing."""

from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from acmix_nas.errors import AcmixError


@cache
def names(folder: str) -> tuple[str, ...]:
    """The names that a folder of the package offers, sorted.

    Args:
        folder: Dotted path below `acmix_nas`, for example "operators.attention".

    Returns:
        The stems of the Python files there that do not start with an underscore.
    """
    here = Path(__file__).parent.joinpath(*folder.split("."))
    return tuple(sorted(f.stem for f in here.glob("*.py") if not f.stem.startswith("_")))


def known(folder: str, name: str) -> bool:
    """Whether `name` is a file of `folder` or the dotted path of a user's own module."""
    return name in names(folder) or _is_dotted(name)


def load(folder: str, name: str) -> ModuleType:
    """The module behind a name.

    Args:
        folder: Dotted path below `acmix_nas`.
        name: A file name there, or the dotted path of a module of the user's own ("my_lab.attention").

    Raises:
        AcmixError: There is no such file, or the user's module cannot be imported.
    """
    if name in names(folder):
        return import_module(f"acmix_nas.{folder}.{name}")
    if not _is_dotted(name):
        have = ", ".join(names(folder))
        raise AcmixError(
            f"{folder} has no {name!r}; there are {have}. A module of your own is named by its dotted path."
        )
    try:
        return import_module(name)
    except ImportError as error:
        raise AcmixError(f"the module {name!r} cannot be imported: {error}. Is it on PYTHONPATH?") from error
    except Exception as error:  # the user's code may raise anything
        raise AcmixError(f"the module {name!r} cannot be imported: {type(error).__name__}: {error}.") from error


def _is_dotted(name: str) -> bool:
    """Whether a name is that of a module in a package: two identifiers or more with dots between."""
    return "." in name and all(part.isidentifier() for part in name.split("."))
