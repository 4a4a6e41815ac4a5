"""Libraries that only some kinds of source need."""

from importlib import import_module
from types import ModuleType

from acmix_nas.errors import DataError


def needed(module: str, package: str, what: str) -> ModuleType:
    """Imports a library that is not installed with acmix-nas.

    Raises:
        DataError: It is missing; the message has the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(f"{what} needs {package}: {error}. Install it with: pip install {package}") from error
