"""Processes of tests, forked from one that has loaded torch and the tests' own pieces already."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
MODULES = ["whole_package"]
"""What the server loads when it starts."""


def preload(name: str) -> None:
    """Names a module that the server loads when it starts; all that are named are loaded, it is one for all tests."""
    if name not in MODULES:
        MODULES.append(name)


def start(target: Callable[..., None], *values: Any) -> BaseProcess:
    """A process that runs a function."""
    begin()
    running = SERVER.Process(target=target, args=values)
    running.start()
    return running


def begin() -> None:
    """Starts the server, if it does not run; no setting of the test that happens to start it reaches later ones."""
    SERVER.set_forkserver_preload(MODULES)
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("ACMIX_")]:
        del os.environ[name]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # Python 3.11 does not tell the server where modules are
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
