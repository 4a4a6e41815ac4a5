"""Starts worker processes with torch loaded: on Linux they are forked from a server that loads it once."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any

CAN_FORK = sys.platform == "linux"
"""Elsewhere the system's libraries that torch uses do not survive a fork, and each worker is a new interpreter."""
PRELOADED = ["acmix_nas.executors._worker"]
"""Modules that the server loads: all that a worker needs, and nothing that starts a thread or initializes CUDA."""


def start(
    target: Callable[..., None], *values: Any, daemon: bool, environment: Mapping[str, str | None]
) -> BaseProcess:
    """Starts a process that calls a function.

    Libraries read their number of threads when they are loaded, which is in the server: what the first worker is given
    as OMP_NUM_THREADS holds for them all, but for torch, whose number a worker sets.

    Args:
        target: A function of a module, not of `__main__`.
        values: Its arguments.
        daemon: Whether it ends with this process; then it may have no children of its own.
        environment: Changes to this process's environment; None unsets a variable.

    Raises:
        EOFError: The server was killed meanwhile; it is started again at the next call.
        OSError: The same, or the system has no process to give.
    """
    kind = ForkServerProcess if CAN_FORK else SpawnProcess
    with environment_variables(environment):
        if CAN_FORK:
            _ensure_server()
        process = kind(target=_call, args=(dict(os.environ), target, *values), daemon=daemon)
        process.start()
    return process


def _call(environment: Mapping[str, str], target: Callable[..., None], *values: Any) -> None:
    """Calls the function in the environment of the process that asked; the server has that of its start."""
    os.environ.clear()
    os.environ.update(environment)
    target(*values)


def _ensure_server() -> None:
    """Starts the server unless it runs; it finds modules where this process does, not first in the working folder."""
    forkserver.set_forkserver_preload(PRELOADED)
    where = os.pathsep.join(filter(None, sys.path))
    with environment_variables({"PYTHONPATH": where, "PYTHONSAFEPATH": "1"}):
        forkserver.ensure_running()


@contextmanager
def environment_variables(values: Mapping[str, str | None]) -> Iterator[None]:
    """A block in which environment variables have other values; None unsets one."""
    before = {name: os.environ.get(name) for name in values}
    _set_environment(values)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
