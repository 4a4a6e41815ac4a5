"""The commands that tests kill at every write: how each is called, and what it must come to in the end."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drivers
import kills
import yaml

TABLE = """
summary: Two rules
space: {space}
base: best.yaml
baseline: att
rows:
  att: {{combine: att}}
  sum: {{combine: sum, conv_kernel: 3, conv_impl: full}}
seeds: 2
budget: {{proxy: cpu, epochs: 2}}
"""


@dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        line: The command for a folder and images.
        result: What must come out the same, read from the folder.
        base: Name of the job whose result it begins with.
        resumes: Whether the user says --resume first, as without a name; else the command as it was.
        done: What the command says where all was done before it was killed.
    """

    line: Callable[[Path, Path], tuple[object, ...]]
    result: Callable[[Path], Any]
    base: str | None = None
    resumes: bool = False
    done: str | None = None


@dataclass
class Ended:
    """A job that nothing happened to.

    Attributes:
        start: The folder as it was before.
        out: Where the job runs, now as it was after.
        states: What a kill at each write would have left; empty folders where the writes were only counted.
        result: What came out.
        files: Names of all files.
    """

    start: Path
    out: Path
    states: list[Path]
    result: Any
    files: set[str]


def run_whole(job: Job, root: Path, images: Path, base: Path | None, *, copies: bool) -> Ended:
    """Runs a job, and copies what a kill would leave, or only counts its writes."""
    start, out = root / "start", root / "out"
    if base is None:
        start.mkdir(parents=True)
    else:
        shutil.copytree(base, start)
    kills.restore(start, out)
    says = root / "whole.txt"
    watch = kills.acmix_watched if copies else kills.acmix_counted
    running = watch(*job.line(out, images), says=says, folder=out, states=root / "states")
    assert drivers.ended(running) == 0, says.read_text()
    return Ended(start, out, sorted((root / "states").iterdir()), job.result(out), files(out))


def take_up(job: Job, out: Path, images: Path, says: Path) -> None:
    """Says the command again, or with --resume, as its message has it."""
    line = job.line(out, images)
    lines = [(*line, "--resume"), line] if job.resumes else [line, (*line, "--resume")]
    says.unlink(missing_ok=True)
    code = drivers.ended(drivers.acmix(*lines[0], says=says))
    if code and (job.resumes or "add --resume" in says.read_text()):
        code = drivers.ended(drivers.acmix(*lines[1], says=says))
    assert code == 0 or (job.done and job.done in says.read_text()), says.read_text()
    assert "Traceback" not in says.read_text()


def files(folder: Path) -> set[str]:
    """Names of all files and folders below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _study(name: str) -> Callable[[Path], Any]:
    def result(out: Path) -> Any:
        from acmix_nas.study import load

        fields = ("number", "arch_id", "label", "status", "scores", "losses", "origin")
        header, records = load(out / name, storage=_database(out) if name == "far" else None)
        stored = [{field: getattr(record, field) for field in fields} for record in records]
        lines = (out / name / "trials.jsonl").read_text().splitlines()
        assert [json.loads(line)["number"] for line in lines] == list(range(len(records)))
        best = out / name / "best.yaml"
        return stored, header.rows, best.exists() and _arch(best)

    return result


def _database(out: Path) -> str:
    return f"sqlite:///{out / 'all.db'}"


def _arch(path: Path) -> Any:
    found = yaml.safe_load(path.read_text())
    return {name: found[name] for name in ("arch", "arch_id") if name in found}


def _finals(out: Path) -> Any:
    rows = [json.loads(line) for line in (out / "it" / "finals.jsonl").read_text().splitlines()]
    cells = sorted((row["arch_id"], row["seeds"]["init"], row["status"], row["scores"]) for row in rows)
    return cells, (out / "it" / "finalists.json").read_text(), _arch(out / "it" / "best.yaml"), _study("it")(out)[0]


def _training(out: Path) -> Any:
    (folder,) = (path.parent for path in out.glob("*/train.yaml"))
    rows = list(csv.DictReader((folder / "log.csv").read_text().splitlines()))
    facts = yaml.safe_load((folder / "train.yaml").read_text())
    told = {name: facts[name] for name in ("network", "budget", "data", "seed")}
    epochs = [{name: row[name] for name in ("epoch", "lr", "loss", "top1")} for row in rows]
    return folder.name, epochs, told, (folder / "best.safetensors").read_bytes()


def _contents(name: str) -> Callable[[Path], Any]:
    def result(out: Path) -> Any:
        return {
            str(path.relative_to(out)): path.read_bytes()
            for path in (out / name).rglob("*")
            if path.is_file() and not kills.NO_CONTENT.fullmatch(path.name)
        }

    return result


def _table(out: Path) -> Path:
    path = out.parent / "two_rules.yaml"
    path.write_text(TABLE.format(space=drivers.SPACE))
    if not (out.parent / "best.yaml").exists():
        shutil.copy(out / "it" / "best.yaml", out.parent)
    return path


def _search(out: Path, images: Path, name: str) -> tuple[object, ...]:
    where = ("--data", images, "--out", out, "--study", name, "--device", "cpu")
    return ("search", "--space", drivers.SPACE, *where, "--trials", 3, "--seed", 3)


JOBS = {
    "search": Job(
        lambda out, images: (*_search(out, images, "it"), "--epochs", 3, "--prune", "asha"),
        _study("it"),
    ),
    "search elsewhere": Job(
        lambda out, images: (
            *_search(out, images, "far"),
            *("--epochs", 3, "--prune", "none", "--warm-start", "it", "--storage", _database(out)),
        ),
        _study("far"),
        base="search",
    ),
    "ablate": Job(
        lambda out, images: (
            *("ablate", _table(out), "--data", images, "--out", out, "--study", "rules", "--device", "cpu"),
        ),
        _study("rules"),
        base="search",
    ),
    "finalists": Job(
        lambda out, images: ("finalists", "it", "--top", 1, "--seeds", 2, "--out", out, "--device", "cpu"),
        _finals,
        base="search",
    ),
    "train": Job(
        lambda out, images: (
            *("train", out / "it" / "best.yaml", "--data", images, "--out", out, "--device", "cpu", "--epochs", 2),
            *("--input-size", 32, "--batch-size", 16, "--images", 32),
        ),
        _training,
        base="search",
        resumes=True,
    ),
    "subset": Job(
        lambda out, images: (
            *("data", "subset", "--classes", 3, "--images-per-class", 8, "--search-images", 6, "--size", 28),
            *("--out", out / "store"),
        ),
        _contents("store"),
    ),
    "export": Job(
        lambda out, images: ("export", out / "it" / "best.yaml", "--format", "timm", "--out", out / "for timm"),
        _contents("for timm"),
        base="search",
        done="already exists",
    ),
    "report": Job(
        lambda out, images: ("report", "it", "--out", out, "--figures", "svg"),
        _contents("it"),
        base="search",
    ),
}
