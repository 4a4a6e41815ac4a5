"""A long search of tiny networks, in which something is killed every few seconds: is every trial there, once?

The victim is drawn among the driver and its workers; a killed driver is started again with --resume. On a machine so
slow that no trial ends between two kills, the next one waits for a trial.

Usage: python benchmarks/soak.py [--trials 500] [--workers 2] [--kill-every 20] [--seed 0] [--out FOLDER]
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SPACE = """
host: swin
input_size: 32
patch_size: 4
widths: [16, 32]
depths: [2, 2]
conv_on: rolled
mixer: {attention: window, attn_kernel: 4, conv_init: shift}
choices:
  combine: [att, conv, sum, half, learned, gated]
  head_dim: {options: [4, 8, 16], ordered: true}
  conv_kernel: {options: [1, 3, 5, 7], ordered: true}
  conv_impl: [groupconv, learnable, full]
proxies:
  cpu: {input_size: 28, patch_size: 4, width: 1, depths: [2, 2], epochs: 1, batch_size: 32, learning_rate: 0.002,
        inert: allow}
"""
LOOK_EVERY_S = 1.0
SETTLED_S = 15.0
"""A driver's memory counts from then on: before, it loads libraries and images."""
PARTS = 5


@dataclass
class Soak:
    """What was seen.

    Attributes:
        kills: How often each kind of process was killed.
        memory: (trials stored, bytes of the driver in memory, which driver it is) at every look.
        starts: How often a driver was started.
        seconds: Time from the first start to the end.
    """

    kills: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[int, int, int]] = field(default_factory=list)
    starts: int = 0
    seconds: float = 0.0


def main() -> int:
    """Prints a table; the exit code is 1 if a trial is missing or there twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill-every", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sampler", default="hamming-gp")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = asked.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        (out / "soak.yaml").write_text(SPACE, encoding="utf-8")
        make_images(out / "images")
        seen = run(out, asked)
        return tell(seen, out, asked.trials)


def make_images(folder: Path) -> None:
    """A store of a few embedded images."""
    from acmix_nas.data import open_source, plan_subset, write_store

    plan = plan_subset(open_source("embedded"), classes="3", images_per_class=8, search_images=30, size=28)
    write_store(plan, folder)


def run(out: Path, asked: argparse.Namespace) -> Soak:
    """Starts drivers until one ends by itself."""
    chance, seen, began_s = random.Random(asked.seed), Soak(), time.monotonic()
    kill_s, then = began_s + asked.kill_every, 0
    while True:
        driver = start(out, asked, resume=(out / "soak" / "study.db").exists())
        seen.starts += 1
        born_s = time.monotonic()
        while driver.poll() is None:
            time.sleep(LOOK_EVERY_S)
            trials = stored(out / "soak")
            look(seen, driver.pid, trials, settled=time.monotonic() - born_s > SETTLED_S)
            if time.monotonic() > kill_s and trials > then:
                kill_s, then = time.monotonic() + asked.kill_every, trials
                kill_one(seen, driver.pid, chance)
        if driver.returncode != -signal.SIGKILL:
            seen.seconds = time.monotonic() - began_s
            if driver.returncode not in (0, 3):
                print((out / "said.txt").read_text(encoding="utf-8")[-3000:])
            return seen


def start(out: Path, asked: argparse.Namespace, *, resume: bool) -> "subprocess.Popen[bytes]":
    """A driver, saying what it says in a file."""
    line = [
        *(sys.executable, "-m", "acmix_nas", "search", "--space", str(out / "soak.yaml"), "--study", "soak"),
        *("--data", str(out / "images"), "--out", str(out), "--trials", str(asked.trials), "--device", "cpu"),
        *("--executor", "process", "--workers", str(asked.workers)),
        *(["--resume"] if resume else ["--sampler", asked.sampler]),
    ]
    with (out / "said.txt").open("ab") as said:
        return subprocess.Popen(line, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"})


def stored(folder: Path) -> int:
    """How many trials have ended."""
    lines = folder / "trials.jsonl"
    return lines.read_bytes().count(b"\n") if lines.exists() else 0


def look(seen: Soak, driver: int, trials: int, *, settled: bool) -> None:
    """Notes the driver's memory."""
    from acmix_nas.search.executors._memory import resident

    memory = resident(driver)
    if settled and memory is not None:
        seen.memory.append((trials, memory, seen.starts))


def kill_one(seen: Soak, driver: int, chance: random.Random) -> None:
    """Kills the driver or one of its workers."""
    victims = [("driver", driver), *(("worker", pid) for pid in workers_of(driver))]
    kind, pid = chance.choice(victims)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    seen.kills[kind] += 1


def workers_of(driver: int) -> list[int]:
    """The processes that a driver spawned to train."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == driver and b"spawn_main" in command:
            found.append(int(folder.name))
    return sorted(found)


def tell(seen: Soak, out: Path, trials: int) -> int:
    """Prints what was seen; 1 if the study is not as it should be."""
    from acmix_nas.search.study import load

    _, records = load(out / "soak")
    lines = (out / "soak" / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    statuses = Counter(record.status for record in records)
    numbers = sorted(record.number for record in records)
    rows = [
        ("trials asked for", trials),
        ("records in the study", len(records)),
        ("lines in trials.jsonl", len(lines)),
        ("numbers that are there twice", len(numbers) - len(set(numbers))),
        ("networks that are there twice", len(records) - len({record.arch_id for record in records})),
        ("statuses", ", ".join(f"{count} {name}" for name, count in sorted(statuses.items()))),
        ("minutes", round(seen.seconds / 60, 1)),
        ("drivers killed", seen.kills["driver"]),
        ("workers killed", seen.kills["worker"]),
    ]
    for name, value in rows:
        print(f"{name:32} {value}")
    for name, value in memory_rows(seen, trials):
        print(f"{name:32} {value}")
    return int(numbers != list(range(trials)) or len(lines) != trials)


def memory_rows(seen: Soak, trials: int) -> list[tuple[str, str]]:
    """The driver's memory as the study grows."""
    rows = []
    for part in range(PARTS):
        low, high = trials * part // PARTS, trials * (part + 1) // PARTS
        found = [memory / 1e6 for done, memory, _ in seen.memory if low <= done < high + (part == PARTS - 1)]
        if found:
            text = f"{statistics.median(found):.0f} MB, {max(found):.0f} at most"
            rows.append((f"driver, trials {low} to {high}", text))
    return rows


if __name__ == "__main__":
    sys.exit(main())
