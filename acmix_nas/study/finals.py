"""Finalists on disk: the list of a search's folder, and the records of those trained again."""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from acmix_nas import plugins
from acmix_nas.arch import Arch
from acmix_nas.errors import RecordError, StudyError
from acmix_nas.fields import COUNT, MAPPING, NUMBER, SHARE, TEXT, Origin, list_of, maybe, whole
from acmix_nas.files import write_text
from acmix_nas.record import TrialRecord

FINALS = "finals.jsonl"
LIST = "finalists.json"
"""The list, fixed before anything of it is trained."""
SPLIT = "report"
"""What fresh scores are read on."""
FORMER_SCORE = "top1"
"""Name of a candidate's score in lists of 0.1."""
CANDIDATE = {
    "names": list_of(TEXT, 1),
    "trial": maybe(COUNT),
    "score": maybe(NUMBER),
    FORMER_SCORE: maybe(SHARE),
    "arch": MAPPING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A network that is trained again.

    Attributes:
        names: What it is: "finalist 1", "plain host", ...; several where it is several things.
        arch: The network.
        trial: Its trial in the search; None if it had none.
        score: Its score in the search.
    """

    names: tuple[str, ...]
    arch: Arch
    trial: int | None = None
    score: float | None = None

    @property
    def name(self) -> str:
        """All of its names."""
        return ", ".join(self.names)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"names": list(self.names), "trial": self.trial, "score": self.score, "arch": self.arch.to_dict()}

    @classmethod
    def from_dict(cls, values: object, origin: Origin, path: str) -> "Candidate":
        """The inverse of `to_dict`.

        Args:
            values: What is stored.
            origin: What stores it, for messages.
            path: Where in it.

        Raises:
            AcmixError: It is no candidate; that of `origin`.
        """
        known = origin.fields(values, CANDIDATE, optional=("trial", "score", FORMER_SCORE), path=path)
        with origin.at(f"{path}.arch"):
            arch = Arch.from_dict(known["arch"])
        plugins.suspect(arch.named)
        score = known.get("score", known.get(FORMER_SCORE))
        return cls(names=tuple(known["names"]), arch=arch, trial=known.get("trial"), score=score)


def fix_list(folder: Path, candidates: Callable[[], list[Candidate]], *, top: int) -> list[Candidate]:
    """The list in a study's folder, made and kept there the first time.

    Raises:
        StudyError: It was made with another `top`.
    """
    path = folder / LIST
    if not path.is_file():
        values = {"top": top, "candidates": [candidate.to_dict() for candidate in candidates()]}
        write_text(path, json.dumps(values, indent=1) + "\n")
    fixed, found = _read_list(path)
    if fixed != top:
        raise StudyError(
            f"the list in {path} was fixed with --top {fixed}, before its networks were trained; a new choice, "
            f"with their scores known, would be biased. Use --top {fixed}, or remove {LIST} and {FINALS}."
        )
    return found


def load_finals(folder: Path) -> list[TrialRecord]:
    """The records in finals.jsonl; a last line that a kill tore is left out."""
    path = folder / FINALS
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(TrialRecord.from_json(line))
        except RecordError:
            if number < len(lines) or line.endswith("\n"):
                raise
    return records


def load_list(folder: Path) -> list[Candidate]:
    """The list in a study's folder; empty if there is none."""
    return _read_list(folder / LIST)[1] if (folder / LIST).is_file() else []


def _read_list(path: Path) -> tuple[int, list[Candidate]]:
    """The number of finalists that a list was fixed with, and its networks."""
    origin = Origin(path, StudyError, f"Restore it, or remove {LIST} and {FINALS} to choose anew.")
    values = origin.fields(origin.read(), {"top": whole(1), "candidates": list_of(MAPPING, 1)})
    return values["top"], [
        Candidate.from_dict(item, origin, f"candidates[{number}]") for number, item in enumerate(values["candidates"])
    ]


class FreshRecords(NamedTuple):
    """Stored trainings of finalists, sorted.

    Attributes:
        kept: Those that were made as the study says; complete, paused and failed ones.
        refused: The others, each with the reason.
    """

    kept: tuple[TrialRecord, ...]
    refused: tuple[tuple[TrialRecord, str], ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each record that is left out."""
        return tuple(
            f"Left out: {record.label or record.arch_id}, seed {record.seeds.get('init')}: {reason}."
            for record, reason in self.refused
        )


def sort_fresh(
    records: Sequence[TrialRecord], settings: Mapping[str, Any], *, seed: int | None = None, metric: str | None = None
) -> FreshRecords:
    """Keeps apart what may not be averaged: another split, metric, data, proxy or budget, a seed that is not fresh.

    Of two complete trainings of one network with one seed the first is kept.

    Args:
        records: What finals.jsonl holds, in its order.
        settings: Of the search: "data" (the fingerprint), "budget" and "proxy"; what is missing is not compared.
        seed: Seed of the search.
        metric: Name of its metric; None if that is not compared.
    """
    kept: list[TrialRecord] = []
    refused = []
    done: set[Hashable] = set()
    for record in records:
        cell = (record.arch_id, record.seeds.get("init"))
        reason = _difference(record, settings, seed)
        if reason is None and metric is not None and record.metric != metric:
            reason = f"its scores are {record.metric}, the study's {metric}"
        if reason is None and record.status == "complete" and cell in done:
            reason = "the same network was trained with this seed before"
        if reason is not None:
            refused.append((record, reason))
            continue
        kept.append(record)
        if record.status == "complete":
            done.add(cell)
    return FreshRecords(tuple(kept), tuple(refused))


def _difference(record: TrialRecord, settings: Mapping[str, Any], search_seed: int | None) -> str | None:
    """Why a record is no fresh score of the study; None if it is one."""
    if record.split != SPLIT:
        return f"it was scored on {record.split} images, not on {SPLIT} images"
    seed = record.seeds.get("init")
    if seed is None or seed == search_seed:
        return f"its seed is {'missing' if seed is None else 'that of the search'}, which is not a fresh one"
    if "data" in settings and record.data.get("fingerprint") != settings["data"]:
        return f"its data fingerprint is {record.data.get('fingerprint')}, the study's is {settings['data']}"
    for name, theirs in (("budget", record.budget), ("proxy", record.proxy), ("head", record.head or {})):
        ours = settings.get(name)
        if not isinstance(ours, Mapping):
            continue
        for key in sorted({*theirs, *ours}):
            if _plain(theirs.get(key)) != _plain(ours.get(key)):
                return f"its {name} has {key} = {theirs.get(key)}, the study's {ours.get(key)}"
    return None


def _plain(value: Any) -> Any:
    """The value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
