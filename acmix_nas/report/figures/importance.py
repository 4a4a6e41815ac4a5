"""Which choices of a search matter: the share of the accuracies' variance that each explains alone."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.pareto import complete, score
from acmix_nas.report.picture import BLUE, FAINT, GREY

LEAST = 8
"""Trials below which no share is told."""
MOST = 20


def explained(records: Sequence[TrialRecord]) -> dict[str, float]:
    """stages.S.FIELD -> omega squared of the one-way analysis of variance of top-1 by that field, largest first.

    omega^2 = (SS_between - df MS_within) / (SS_total + MS_within) (Hays 1963), which is 0 on average where a field has
    no effect; negative ones are shown as 0. Choices are confounded where a sampler takes them together, and a field
    that has no effect beside another (a kernel without its path) counts as a value of its own.
    """
    scored = [record for record in complete(records) if record.shared_with is None]
    if len(scored) < LEAST:
        return {}
    scores = [score(record) for record in scored]
    found: dict[str, float] = {}
    depth = min(len(record.arch.stages) for record in scored)
    for stage in range(depth):
        for name in asdict(scored[0].arch.stages[stage][0]):
            values = [tuple(getattr(mixer, name) for mixer in record.arch.stages[stage]) for record in scored]
            if len({value for stage_values in values for value in stage_values} - {None}) > 1:
                found[f"stages.{stage}.{name}"] = _omega(values, scores)
    return dict(sorted(found.items(), key=lambda item: -item[1])[:MOST])


def draw(figure: Any, header: StudyHeader, shares: dict[str, float]) -> None:
    """Bars, largest first."""
    axes = figure.add_subplot()
    axes.barh(range(len(shares)), list(shares.values()), color=BLUE, height=0.65)
    axes.set_yticks(range(len(shares)), list(shares), color="#222222")
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(0, max(0.05, *shares.values()) * 1.15)
    for place, value in enumerate(shares.values()):
        axes.annotate(
            f"{value:.2f}", (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"share of the variance of {header.split} top-1 that the choice explains alone (ω²)")
    axes.set_title("Choices drawn together are confounded", fontsize=8.5, color=GREY, loc="left")


def size(shares: dict[str, float]) -> tuple[float, float]:
    """Width and height in inches."""
    return 7.0, 1.2 + 0.27 * len(shares)


def _omega(values: Sequence[object], scores: Sequence[float]) -> float:
    mean = sum(scores) / len(scores)
    groups = [[s for v, s in zip(values, scores, strict=True) if v == value] for value in dict.fromkeys(values)]
    total = sum((s - mean) ** 2 for s in scores)
    between = sum(len(group) * (sum(group) / len(group) - mean) ** 2 for group in groups)
    freedom = len(scores) - len(groups)
    if freedom < 1 or total == 0:
        return 0.0
    within = max(0.0, total - between) / freedom
    return max(0.0, (between - (len(groups) - 1) * within) / (total + within))
