"""`acmix` in processes of their own, forked from one that has loaded torch already."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import fork_server
import warm_commands

from acmix_nas.data import Plan, open_source, plan_subset, write_store

SPACE = Path(__file__).with_name("tiny.yaml")
PATIENCE_S = 400.0
fork_server.preload("drivers")


def make_images(folder: Path) -> Path:
    """A store of a few embedded images."""
    write_store(plan_images(), folder)
    return folder


def plan_images() -> Plan:
    """What the store holds: 48 images to train on, 30 to search with and 30 to report on."""
    plan = plan_subset(open_source("embedded"), classes="3", images_per_class=16, search_images=30, size=28)
    report = plan.splits["report"]
    few = replace(report, chosen=report.chosen[::20], labels=report.labels[::20])
    return replace(plan, splits={**plan.splits, "report": few})


def acmix(*line: object, says: Path) -> BaseProcess:
    """Runs the command; what it prints goes to a file."""
    return warm_commands.start(*line, out=says)


def search(images: Path, out: Path, *more: object) -> BaseProcess:
    """A search of the tiny space, named "it"."""
    line = ("search", "--space", SPACE, "--data", images, "--out", out, "--study", "it", "--device", "cpu", *more)
    return acmix(*line, says=out.parent / f"{out.name}.txt")


def said(out: Path) -> str:
    """What the search there has printed."""
    return (out.parent / f"{out.name}.txt").read_text()


def ended(running: BaseProcess) -> int:
    """Waits for its end; the exit code."""
    running.join(PATIENCE_S)
    code = running.exitcode
    assert code is not None, "it does not end"
    return code


def until(what: Callable[[], object], running: BaseProcess) -> None:
    """Waits until something is so, while the command runs."""
    end_s = time.monotonic() + PATIENCE_S
    while not what() and running.is_alive():
        assert time.monotonic() < end_s, "it does not come"
        time.sleep(0.02)


def listening(pid: int) -> list[str]:
    """Sockets on which a process or one that it started waits for others."""
    listen, own = "0A", {pid}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        own |= {int(folder.name)} if parent == pid else set()
    inodes = set()
    for process in own:
        for link in Path(f"/proc/{process}/fd").glob("*"):
            with suppress(OSError):
                inodes.add(str(link.readlink()))
    rows = [row.split() for kind in ("tcp", "tcp6") for row in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == listen and f"socket:[{row[9]}]" in inodes]


def lines(out: Path) -> list[dict]:
    """The records in trials.jsonl."""
    file = out / "it" / "trials.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def essence(out: Path) -> list[dict]:
    """What must repeat of them."""
    return [{name: row[name] for name in ("number", "arch_id", "status", "scores", "losses")} for row in lines(out)]
