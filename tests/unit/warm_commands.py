"""`acmix` in processes of their own, forked from one that has loaded torch: an interpreter starts in seconds."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

import fork_server
import torch

from acmix_nas.cli import main

fork_server.preload("warm_commands")


@dataclass(frozen=True)
class Done:
    """What a command has left: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def start(
    *words: object,
    out: Path,
    err: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    first: Callable[[], object] | None = None,
) -> BaseProcess:
    """Begins a command; what it prints is appended to files.

    Args:
        words: What follows `acmix`.
        out: File for stdout.
        err: File for stderr, default that of stdout.
        cwd: Its working directory.
        env: Added to the environment of the test.
        first: Called in the process before the command.
    """
    return fork_server.start(become, tuple(map(str, words)), out, err, cwd, {**os.environ, **(env or {})}, first)


def run(
    *words: object, cwd: Path, env: Mapping[str, str] | None = None, first: Callable[[], object] | None = None
) -> Done:
    """Runs a command to its end."""
    out, err = (cwd.parent / f"{cwd.name}.{stream}.txt" for stream in ("out", "err"))
    for file in (out, err):
        file.unlink(missing_ok=True)
    running = start(*words, out=out, err=err, cwd=cwd, env=env, first=first)
    running.join()
    assert running.exitcode is not None
    return Done(running.exitcode, out.read_text(), err.read_text())


def without_timing() -> None:
    """Ablation tables do not time the full networks: that has tests of its own."""
    module = import_module("acmix_nas.experiments.ablation.cells")
    assert hasattr(module, "throughputs")
    module.throughputs = lambda archs, **_: (4, dict.fromkeys(archs, 10.0))  # type: ignore[attr-defined]


def become(
    words: tuple[str, ...],
    out: Path,
    err: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    first: Callable[[], object] | None = None,
) -> None:
    """Makes this process the command, and runs it."""
    if env is not None:  # the server has that of its start
        os.environ.clear()
        os.environ.update(env)
    os.setpgid(0, 0)
    for number, file in ((1, out), (2, err or out)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    if cwd is not None:
        os.chdir(cwd)
    sys.argv = ["acmix", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    if first is not None:
        first()
    main()
