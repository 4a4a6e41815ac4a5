"""Which choices of a search matter: the share of each in the variance of the score."""

from collections.abc import Mapping
from typing import Any

from acmix_nas.record import StudyHeader
from acmix_nas.report.escape import plain
from acmix_nas.report.figures import Picture, Subject
from acmix_nas.report.mattered import Mattered
from acmix_nas.report.picture import BLUE, FAINT, GREY

MOST = 20
"""Choices that are drawn."""


def pictures(of: Subject) -> dict[str, Picture]:
    """One picture of a search with enough trials."""
    shares = of.mattered.importances
    return {"importance": Picture(size(shares), lambda figure: draw(figure, of.header, of.mattered))} if shares else {}


def draw(figure: Any, header: StudyHeader, found: Mattered) -> None:
    """Bars, largest first; behind them, lighter, with the children of a choice; Optuna's as open circles."""
    axes, shown = figure.add_subplot(), dict(list(found.importances.items())[:MOST])
    places, subtree = range(len(shown)), [found.subtree[name] for name in shown]
    optuna = [found.ped_anova.get(name, 0.0) for name in shown]
    axes.barh(places, subtree, color=BLUE, alpha=0.25, height=0.65, label="with its children")
    axes.barh(places, list(shown.values()), color=BLUE, height=0.65, label="share of the variance")
    axes.plot(optuna, places, "o", color="#222222", mfc="white", markersize=5, label="Optuna's PED-ANOVA")
    axes.set_yticks(places, [plain(name) for name in shown], color="#222222")
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, max(0.05, *subtree, *optuna) * 1.15)
    for place, value in enumerate(shown.values()):
        end = max(subtree[place], optuna[place])
        axes.annotate(f"{value:.2f}", (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", fontsize=8)
    axes.set_xlabel(f"share of the variance of {header.split} {header.metric.title} (the number beside a bar)")
    axes.set_title(
        f"Of a model that predicts {max(found.explained, 0.0):.0%} of the trials' variance",
        fontsize=8.5,
        color=GREY,
        loc="left",
    )


def size(shares: Mapping[str, float]) -> tuple[float, float]:
    """Width and height in inches."""
    return 7.0, 1.2 + 0.27 * min(MOST, len(shares))
