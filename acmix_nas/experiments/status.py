"""How studies stand: what is stored of them, and what the process at work says. Loads no torch."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acmix_nas.errors import AcmixError, StudyError
from acmix_nas.fields import COUNT, MAPPING, NUMBER, TEXT, Origin, list_of, maybe
from acmix_nas.front import front
from acmix_nas.study.folder import find_folder, is_at_work, studies
from acmix_nas.study.stored import turn_of
from acmix_nas.study.study import Study

RUNNING = "running.json"
"""What the process at work keeps in a study's folder, for others."""
_FACTS = {"pid": COUNT, "host": TEXT, "left_s": maybe(NUMBER), "trials": list_of(MAPPING)}
_TRIAL = {"number": COUNT, "label": TEXT, "epoch": COUNT, "epochs": COUNT}


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


def standing(study: str, *, reports: Path = Path("reports"), storage: str | None = None) -> Standing:
    """How one study stands.

    Args:
        study: Its name in `reports`, or the path of its folder.
        reports: Folder of study folders.
        storage: URL of its database, where that is not study.db in its folder.

    Raises:
        StudyError: There is no such study, or it cannot be read.
    """
    return _standing(Study.open(find_folder(study, reports, "--reports"), storage=storage))


def standings(*, reports: Path = Path("reports"), storage: str | None = None) -> list[Standing]:
    """How all studies in a folder stand; one that cannot be read hides no other.

    Args:
        reports: Folder of study folders.
        storage: URL of their database, where that is not study.db in the folders.
    """
    found = []
    for folder in studies(reports):
        try:
            found.append(_standing(Study.open(folder, storage=storage)))
        except AcmixError as error:
            found.append(Standing(name=folder.name, state="unknown", error=str(error)))
    return found


def read_running(folder: Path) -> dict[str, Any]:
    """What the process at work wrote last; nothing if it did not yet, or if what lies there is nothing it writes."""
    origin = Origin(folder / RUNNING, StudyError)
    try:
        found = origin.fields(origin.read(), _FACTS, optional=_FACTS)
        for number, trial in enumerate(found.get("trials", ())):
            origin.fields(trial, _TRIAL, path=f"trials[{number}]")
    except StudyError:
        return {}
    return found


def _standing(study: Study) -> Standing:
    records = study.records()
    counts = Counter(record.status for record in records)
    for trial in study.running():
        record, turn = study.record(trial.number), turn_of(trial.user_attrs)
        counts["paused" if record and len(record.scores) >= ((turn and turn.until) or 0) else "running"] += 1
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
