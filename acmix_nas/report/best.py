"""best.yaml: the network a study recommends, in the form that `acmix profile` and `acmix search` read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import yaml

from acmix_nas.metrics import TIMED
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import ablation, escape
from acmix_nas.report.finals import Final
from acmix_nas.report.pareto import complete, front_of
from acmix_nas.report.trials import split_title


def choose(header: StudyHeader, records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The first of the front, or of the ablation row with the best mean; None without a complete trial."""
    if header.kind == "search":
        return next(iter(front_of(header, records)), None)
    scored = [row for row in ablation.rows(header, records) if row.trials]
    return max(scored, key=lambda row: header.metric.gain(row.mean or 0.0)).trials[0] if scored else None


def best_yaml(header: StudyHeader, records: Sequence[TrialRecord], best: TrialRecord) -> str:
    """The file: where the network comes from in comments, then its description and score."""
    score = _score(header, records, best)
    head = [
        f"The best network of study {header.name}: trial {best.number}, {best.label}.",
        f"{split_title(header, records)}: {header.metric.stored_text(score[header.metric.name])}",
        "Count and time it: acmix profile best.yaml",
        f"Made by: {header.command}",
    ]
    cost = {name: value for name, value in asdict(best.cost).items() if value is not None}
    return _file(head, header, best, trial=best.number, score=score, cost=cost)


def finals_yaml(header: StudyHeader, best: Final) -> str:
    """The file of the network with the best fresh score."""
    record, seeds, metric = best.records[0], len(best.records), header.metric
    head = [
        f"The best network of study {header.name} by fresh scores: {best.name}.",
        f"report {metric.title}, mean of {seeds} fresh seeds: {metric.stored_text(best.mean or 0.0)}",
        "Count and time it: acmix profile best.yaml",
    ]
    cost = {name: value for name, value in asdict(record.cost).items() if name not in TIMED}
    score = {metric.name: best.mean, "split": "report", "seeds": seeds}
    return _file(head, header, record, trial=best.trial, score=score, cost=cost)


def _file(
    head: Sequence[str],
    header: StudyHeader,
    best: TrialRecord,
    *,
    trial: int | None,
    score: Mapping[str, Any],
    cost: Mapping[str, Any],
) -> str:
    """Comments, then the values."""
    values = {
        "study": header.name,
        "trial": trial,
        "arch_id": best.arch_id,
        "score": score,
        "cost": cost,
        "arch": best.arch.to_dict(),
    }
    comments = "".join(f"# {escape.plain(line)}\n" for line in head)
    return comments + yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=160)


def _score(header: StudyHeader, records: Sequence[TrialRecord], best: TrialRecord) -> dict[str, Any]:
    if header.kind == "search":
        return {header.metric.name: best.score, "split": best.split, "chosen_from": len(complete(records))}
    row = next(row for row in ablation.rows(header, records) if row.name == best.label)
    return {header.metric.name: row.mean, "split": best.split, "row": row.name, "seeds": len(row.trials)}
