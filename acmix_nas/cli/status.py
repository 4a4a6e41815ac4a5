"""`acmix status`: how studies stand, narrow enough for a telephone."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmix_nas.cli._options import json_option, out_option, storage_option
from acmix_nas.cli._say import say
from acmix_nas.errors import AcmixError

if TYPE_CHECKING:
    from acmix_nas.study.study import Study

WIDTH = 40
"""Columns that everything fits in."""


@click.command()
@click.argument("study", required=False)
@out_option
@storage_option
@json_option
def status(study: str | None, out: Path, storage: str | None, as_json: bool) -> None:
    """Show how a study stands, or all studies in --out.

    STUDY is the name of a study in --out, or the path of its folder. Fits 40 columns.

    \b
    Examples:
      acmix status
      acmix status swin_t-001
      watch acmix status swin_t-001
    """
    from acmix_nas.study.folder import find_folder, studies
    from acmix_nas.study.study import Study

    if study:
        standing = _standing(Study.open(find_folder(study, out), storage=storage))
        say(json.dumps(standing.to_dict()) if as_json else "\n".join(_lines(standing)))
        return
    found = [_standing_or_error(folder, storage) for folder in studies(out)]
    if as_json:
        say(json.dumps([item.to_dict() for item in found]))
        return
    say("\n".join(_line(item) for item in found) if found else f"no study in {out} yet")
    for item in found:
        if item.error:
            say(f"{item.name} cannot be read: {item.error}", err=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a study stands.

    Attributes:
        name: Its name.
        state: "running", "done", "stopped" before it had all its trials, or "unknown": it cannot be read.
        goal: Trials that it is to have; None if it never ran.
        counts: Status -> number of trials; trials that wait at a rung are "paused", those in training "running".
        best: (score, number) of the best trial.
        best_text: The same in words.
        front: Networks that nothing beats.
        now: Trials in training.
        left_s: Seconds left, as the process at work sees it.
        error: Why it cannot be read.
    """

    name: str
    state: str
    goal: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    best: tuple[float, int] | None = None
    best_text: str = ""
    front: int = 0
    now: list[dict[str, Any]] = field(default_factory=list)
    left_s: float | None = None
    error: str | None = None

    @property
    def ended(self) -> int:
        """Trials that ended, however."""
        return sum(self.counts.get(name, 0) for name in ("complete", "pruned", "failed"))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def _standing_or_error(folder: Path, storage: str | None) -> Standing:
    """How the study in a folder stands; one that cannot be read hides no other."""
    from acmix_nas.study.study import Study

    try:
        return _standing(Study.open(folder, storage=storage))
    except AcmixError as error:
        return Standing(name=folder.name, state="unknown", error=str(error))


def _standing(study: "Study") -> Standing:
    from collections import Counter

    from acmix_nas.cli.follow import read_running
    from acmix_nas.front import front
    from acmix_nas.study.folder import is_at_work

    records = study.records()
    counts = Counter(record.status for record in records)
    for trial in study.running():
        record = study.record(trial.number)
        counts["paused" if record and len(record.scores) >= (trial.user_attrs.get("until") or 0) else "running"] += 1
    goal = study.kept("goal")
    works = is_at_work(study.folder)
    running: dict[str, Any] = read_running(study.folder) if works else {}
    done = goal is not None and len(records) >= goal
    head, metric = front(records, study.header.measures), study.header.metric
    best = (head[0].score or 0.0, head[0].number) if head else None
    return Standing(
        name=study.header.name,
        state="running" if works else "done" if done else "stopped",
        goal=goal,
        counts=dict(counts),
        best=best,
        best_text=f"{metric.title} {metric.stored_text(best[0])}, trial {best[1]}" if best else "",
        front=len(head),
        now=running.get("trials", []),
        left_s=running.get("left_s"),
    )


def _lines(standing: Standing) -> list[str]:
    """A study in lines of name and value."""
    counts = [f"{standing.counts[name]} {name}" for name in ("paused", "pruned", "failed") if standing.counts.get(name)]
    rows = [
        ("state", standing.state),
        ("trials", f"{standing.ended} of {standing.goal or '?'}"),
        *(("", text) for text in counts),
        *([("best", standing.best_text)] if standing.best else []),
        ("front", f"{standing.front} networks"),
        *(("now", f"trial {now['number']}, epoch {now['epoch']} of {now['epochs']}") for now in standing.now),
        *([("left", _time(standing.left_s))] if standing.left_s is not None else []),
    ]
    return [_cut(standing.name, WIDTH), *(_cut(f"{name:<7} {value}", WIDTH) for name, value in rows)]


def _line(standing: Standing) -> str:
    """A study in one line."""
    best = f"{standing.best[0]:.3f}" if standing.best else "-"
    counted = f"{standing.ended}/{standing.goal or '?'}"
    return f"{_cut(standing.name, 17):<17} {standing.state:<7} {counted:>7} {best:>5}"


def _time(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}~"
