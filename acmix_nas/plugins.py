"""Modules of the user's own: which may be imported, from where, and what they must offer.

A module runs code, so the user names it: in Python, by describing a network with it; where a file or a record names it,
by naming it too, with --plugin or in ACMIX_PLUGINS. Neither the standard library nor what is private, this package's
own or the program itself (`__main__`) is a plug-in.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from os.path import dirname, realpath
from types import ModuleType
from typing import TypeVar

from acmix_nas.errors import AcmixError, UsageError

VARIABLE = "ACMIX_PLUGINS"
"""Names with commas between."""
ATTENTION = "acmix_nas.operators.attention.AttentionMode"
PROTOCOLS: Mapping[str, Mapping[str, str]] = {
    "operators": {"build": "a function", "count": "a function"},
    "operators.attention": {"Attention": ATTENTION},  # one that is never counted needs no count
    "heads": {"build": "a function", "count": "a function"},
    "hosts": {"build": "a function", "count": "a function", "MODELS": "a mapping", "FEATURES": "a mapping"},
    "executors": {"make": "a function"},
    "export": {"write": "a function", "FORMS": "a tuple"},
}
"""Folder -> what a module offers there: a function, a value of a kind, or a subclass of a class of ours."""

Value = TypeVar("Value")
_allowed: set[str] = set()
_suspect: set[str] = set()
_loaded: set[str] = set()
_strict = False


class PluginError(AcmixError):
    """A module of the user's own may not be imported, cannot be, or is no plug-in."""

    exit_code = 2


def is_plug_in(name: str) -> bool:
    """Whether a name can be that of a plug-in: the dotted path of a module in a package of somebody's own."""
    parts = name.split(".")
    return (
        len(parts) > 1
        and all(part.isidentifier() and not part.startswith("_") for part in parts)
        and parts[0] not in sys.stdlib_module_names
        and parts[0] != "acmix_nas"
    )


def allow(*names: str) -> None:
    """Lets modules be imported that files name.

    Args:
        names: Their dotted paths, as "my_lab.attention".

    Raises:
        UsageError: One is no name of a plug-in.
    """
    for name in names:
        if not is_plug_in(name):
            raise UsageError(
                f"a plug-in is the dotted path of a module in a package of your own, as my_lab.attention; {name!r} is "
                "none."
            )
    _allowed.update(names)


def be_strict() -> None:
    """Imports no module that was not named, from now on: in a process that works for another one."""
    global _strict
    _strict = True


def allowed() -> tuple[str, ...]:
    """The modules that the user named, here or in ACMIX_PLUGINS."""
    given = (name.strip() for name in os.environ.get(VARIABLE, "").split(","))
    return tuple(sorted({*_allowed, *(name for name in given if name)}))


def check_named(names: Iterable[str], where: object) -> None:
    """Sees that the user named the plug-ins among some names that a file or a record has.

    Args:
        names: Names of operators, attention modes and hosts; those of the package are passed over.
        where: The file or record, for the message.

    Raises:
        PluginError: One was not named.
    """
    for name in names:
        if is_plug_in(name) and name not in allowed():
            raise PluginError(_refusal(name, f"{where} names the module {name!r}"))


def usable(names: Iterable[str]) -> list[str]:
    """The plug-ins among some names, for a process that this one hands work to.

    Raises:
        PluginError: One may not be imported here.
    """
    wanted = [name for name in names if is_plug_in(name)]
    for name in wanted:
        _check_usable(name)
    return wanted


def suspect(names: Iterable[str]) -> None:
    """Keeps in mind that stored data names these modules: from now on they are imported only if the user names them."""
    _suspect.update(name for name in names if is_plug_in(name) and name not in _loaded)


@contextmanager
def named_only() -> Iterator[None]:
    """A block in which no module is imported that was not named, wherever its name comes from: a command."""
    global _allowed, _strict
    before = _allowed, _strict
    _allowed, _strict = set(_allowed), True
    try:
        yield
    finally:
        _allowed, _strict = before


def load(folder: str, name: str) -> ModuleType:
    """Imports a plug-in.

    Args:
        folder: What it is, a key of `PROTOCOLS`.
        name: Its dotted path.

    Raises:
        PluginError: It was not named, cannot be imported, or does not offer what it must.
    """
    module = _imported(name)
    _check_offers(folder, module)
    _loaded.add(name)
    return module


def load_value(path: str, kind: type[Value]) -> Value:
    """A value of a module of the user's own, imported by the rules of `load`.

    Args:
        path: Dotted path of the module, a colon, and the value's name there: "my_lab.metrics:BALANCED".
        kind: The class that it is of.

    Raises:
        PluginError: The path is none, the module was not named or cannot be imported, or has no such value.
    """
    name, _, attribute = path.partition(":")
    if not is_plug_in(name) or not attribute.isidentifier():
        raise PluginError(
            f"a {kind.__name__} of your own is named by the dotted path of its module, a colon, and its name there, as "
            f"my_lab.mine:NAME; {path!r} is none."
        )
    found = getattr(_imported(name), attribute, None)
    if not isinstance(found, kind):
        raise PluginError(f"the module {name!r} has no {kind.__name__} named {attribute!r}.")
    _loaded.add(name)
    return found


def leave_working_folder(folder: str | None = None) -> None:
    """Takes the working folder out of where modules are found, as `python -P` does, here and in processes begun here.

    `python -m`, and Ray for its workers, put it there: a user in a folder from elsewhere would run its code.
    What PYTHONPATH names stays, and so does the folder that this package lies in.

    Args:
        folder: The working folder; that of this process by default.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        here = realpath(folder or os.getcwd())  # noqa: PTH109 (pathlib takes a tenth of the time of --help)
    except OSError:  # the working folder is gone, and nothing can be found in it
        return
    named = {realpath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
    own = dirname(dirname(realpath(__file__)))  # noqa: PTH120
    if here not in named | {own}:
        sys.path[:] = [entry for entry in sys.path if realpath(entry or here) != here]


def _imported(name: str) -> ModuleType:
    _check_usable(name)
    try:
        return import_module(name)
    except ImportError as error:
        raise PluginError(f"the module {name!r} cannot be imported: {error}. Is it on PYTHONPATH?") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise PluginError(f"the module {name!r} cannot be imported: {type(error).__name__}: {error}.") from error


def _check_usable(name: str) -> None:
    if name not in allowed() and (_strict or name in _suspect):
        raise PluginError(_refusal(name, f"a file or a record names the module {name!r}"))


def _check_offers(folder: str, module: ModuleType) -> None:
    for name, kind in PROTOCOLS[folder].items():
        if not _is_kind(getattr(module, name, None), kind):
            rule = kind if kind.startswith("a ") else f"a subclass of {kind}"
            raise PluginError(
                f"the module {module.__name__!r} is not a plug-in of acmix_nas.{folder}: its {name} is missing or "
                f"of another kind; {rule} is needed."
            )


def _is_kind(found: object, kind: str) -> bool:
    if kind == "a function":
        return callable(found)
    if kind in ("a mapping", "a tuple"):
        return isinstance(found, Mapping if kind == "a mapping" else tuple)
    module, _, name = kind.rpartition(".")
    return isinstance(found, type) and issubclass(found, getattr(import_module(module), name))


def _refusal(name: str, found: str) -> str:
    return (
        f"{found}, and importing a module runs its code. If you trust it, name it too: --plugin {name}, or "
        f'{VARIABLE}={name} in the environment, or acmix_nas.plugins.allow("{name}") in Python.'
    )


def usable_modules(*paths: str | None) -> tuple[str, ...]:
    """The modules of the user's own among some dotted paths, as "my_lab.data:shapes/rest", for another process.

    Raises:
        PluginError: One may not be imported here.
    """
    return tuple(usable(path.partition(":")[0] for path in paths if path is not None and ":" in path))
