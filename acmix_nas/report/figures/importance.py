"""Which choices of a search matter: Optuna's importance of each for top-1."""

from collections.abc import Mapping
from typing import Any

from acmix_nas.record import StudyHeader
from acmix_nas.report.escape import plain
from acmix_nas.report.picture import BLUE, FAINT, GREY

MOST = 20
"""Choices that are drawn."""


def draw(figure: Any, header: StudyHeader, shares: Mapping[str, float]) -> None:
    """Bars, largest first."""
    axes, shown = figure.add_subplot(), dict(list(shares.items())[:MOST])
    axes.barh(range(len(shown)), list(shown.values()), color=BLUE, height=0.65)
    axes.set_yticks(range(len(shown)), [plain(name) for name in shown], color="#222222")
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, max(0.05, *shown.values()) * 1.15)
    for place, value in enumerate(shown.values()):
        axes.annotate(
            f"{value:.2f}", (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"share of the importance for {header.split} top-1 (PED-ANOVA of Optuna)")
    axes.set_title("Choices drawn together are confounded", fontsize=8.5, color=GREY, loc="left")


def size(shares: Mapping[str, float]) -> tuple[float, float]:
    """Width and height in inches."""
    return 7.0, 1.2 + 0.27 * min(MOST, len(shares))
