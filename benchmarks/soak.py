"""A search, its finalists and an ablation of tiny networks, in which something is killed every few seconds.

Is every trial there, once? The victim is drawn among the driver and its workers; a killed driver is started again, with
--resume where the command has it. On a machine so slow that no trial ends between two kills, the next one waits for a
trial; the first of a command does not, so that a study is killed before it has one.

Usage: python benchmarks/soak.py [--trials 500] [--seeds 20] [--workers 2] [--kill-every 20] [--seed 0] [--out FOLDER]
"""

import argparse
import json
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
from typing import Any

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
TABLE = """
summary: Rules
space: soak.yaml
base: soak/best.yaml
baseline: att
rows:
  att: {combine: att}
  sum: {combine: sum, conv_kernel: 3, conv_impl: full}
  learned: {combine: learned, conv_kernel: 3, conv_impl: full}
budget: {proxy: cpu, epochs: 1}
"""
LOOK_EVERY_S = 1.0
SETTLED_S = 15.0
"""A driver's memory counts from then on: before, it loads libraries and images."""
PARTS = 5


@dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        name: Its name.
        line: Its words; driver and workers write into the folder of --out.
        records: File that has a line for each training that ended.
        resumes: Whether a second start says --resume.
    """

    name: str
    line: list[str]
    records: Path
    resumes: bool = True


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
    """Prints a table for each command; the exit code is 1 if a training is missing or there twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=20, help="of finalists and of the ablation")
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
        (out / "rules.yaml").write_text(TABLE, encoding="utf-8")
        make_images(out / "images")
        wrong = 0
        for job in jobs(out, asked):
            seen = run(job, out, asked)
            wrong |= tell(job, seen, out, asked)
        return wrong


def jobs(out: Path, asked: argparse.Namespace) -> list[Job]:
    """The commands, one after another: the second and the third take what the first has found."""
    own = ["--out", str(out), "--device", "cpu"]
    crew = ["--executor", "process", "--workers", str(asked.workers)]
    images = ["--data", str(out / "images")]
    search = ["search", "--space", str(out / "soak.yaml"), "--study", "soak", *images, *own, *crew]
    search += ["--trials", str(asked.trials), "--sampler", asked.sampler]
    finalists = ["finalists", "soak", "--top", "2", "--seeds", str(asked.seeds), *own, *crew]
    ablate = ["ablate", str(out / "rules.yaml"), "--study", "rules", "--seeds", str(asked.seeds), *images, *own]
    return [
        Job("search", search, out / "soak" / "trials.jsonl"),
        Job("finalists", finalists, out / "soak" / "finals.jsonl", resumes=False),
        Job("ablate", ablate, out / "rules" / "trials.jsonl"),
    ]


def make_images(folder: Path) -> None:
    """A store of a few embedded images."""
    from acmix_nas.data import open_source, plan_subset, write_store

    plan = plan_subset(open_source("embedded"), classes="3", images_per_class=8, search_images=30, size=28)
    write_store(plan, folder)


def run(job: Job, out: Path, asked: argparse.Namespace) -> Soak:
    """Starts drivers until one ends by itself."""
    chance, seen, began_s = random.Random(asked.seed), Soak(), time.monotonic()
    kill_s, then = began_s + chance.uniform(0, asked.kill_every), -1
    while True:
        driver = start(job, out)
        seen.starts += 1
        born_s = time.monotonic()
        while driver.poll() is None:
            time.sleep(LOOK_EVERY_S)
            trials = stored(job.records)
            look(seen, driver.pid, trials, settled=time.monotonic() - born_s > SETTLED_S)
            if time.monotonic() > kill_s and trials > then:
                kill_s, then = time.monotonic() + asked.kill_every, trials
                kill_one(seen, driver.pid, chance)
        if driver.returncode != -signal.SIGKILL:
            seen.seconds = time.monotonic() - began_s
            if driver.returncode not in (0, 3):
                print((out / "said.txt").read_text(encoding="utf-8")[-3000:])
            return seen


def start(job: Job, out: Path) -> "subprocess.Popen[bytes]":
    """A driver, saying what it says in a file."""
    resume = job.resumes and (job.records.parent / "study.db").exists()
    line = [sys.executable, "-m", "acmix_nas", *job.line, *(["--resume"] if resume else [])]
    with (out / "said.txt").open("ab") as said:
        return subprocess.Popen(line, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"})


def stored(lines: Path) -> int:
    """How many trainings have ended."""
    return lines.read_bytes().count(b"\n") if lines.exists() else 0


def look(seen: Soak, driver: int, trials: int, *, settled: bool) -> None:
    """Notes the driver's memory."""
    from acmix_nas.executors._watchdog import resident_bytes

    memory = resident_bytes(driver)
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
    """The processes that train for a driver, and the server that they are forked from."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"forkserver" in command:
            parents[int(folder.name)] = parent
    servers = {pid for pid, parent in parents.items() if parent == driver}
    return sorted(pid for pid, parent in parents.items() if pid in servers or parent in servers)


def tell(job: Job, seen: Soak, out: Path, asked: argparse.Namespace) -> int:
    """Prints what was seen; 1 if the trainings are not as they should be."""
    found = [json.loads(line) for line in job.records.read_text(encoding="utf-8").splitlines()]
    cells = [(record["arch_id"], record["seeds"]["init"]) for record in found]
    total = wanted(job, out, asked)
    statuses = Counter(record["status"] for record in found)
    left = [
        str(path.relative_to(out)) for path in job.records.parent.rglob("*") if path.name.endswith((".tmp", ".ckpt"))
    ]
    rows = [
        (f"{job.name}: trainings asked for", total),
        (f"lines in {job.records.name}", len(found)),
        ("networks there twice with a seed", len(cells) - len(set(cells))),
        ("files left over", ", ".join(left) or "none"),
        ("statuses", ", ".join(f"{count} {name}" for name, count in sorted(statuses.items()))),
        ("minutes", round(seen.seconds / 60, 1)),
        ("drivers killed", seen.kills["driver"]),
        ("workers killed", seen.kills["worker"]),
    ]
    for name, value in rows + memory_rows(seen, total):
        print(f"{name:36} {value}")
    return int(len(found) != total or len(set(cells)) != total or bool(left) or not same_in_study(job, found))


def wanted(job: Job, out: Path, asked: argparse.Namespace) -> int:
    """How many trainings a command is to end with."""
    if job.name == "search":
        return int(asked.trials)
    if job.name == "ablate":
        return 3 * int(asked.seeds)
    listed = json.loads((out / "soak" / "finalists.json").read_text(encoding="utf-8"))
    return len(listed["candidates"]) * int(asked.seeds)


def same_in_study(job: Job, found: list[dict[str, Any]]) -> bool:
    """Whether the database has the same trials as the lines, numbered through."""
    from acmix_nas.study import load

    if job.name == "finalists":
        return True
    _, records = load(job.records.parent)
    numbers = [record.number for record in records]
    return numbers == list(range(len(found))) and sorted(line["number"] for line in found) == numbers


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
