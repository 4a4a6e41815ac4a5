"""The marginal effect of each option of the choices that matter most, with its interval."""

from collections.abc import Sequence
from typing import Any

from acmix_nas.record import StudyHeader
from acmix_nas.report.effects import Effect
from acmix_nas.report.escape import plain
from acmix_nas.report.figures import Picture, Subject
from acmix_nas.report.picture import BLACK, BLUE, FAINT, GREY

MOST = 40
"""Options that are drawn."""


def pictures(of: Subject) -> dict[str, Picture]:
    """One picture of a search with enough trials."""
    found = of.mattered.effects
    return {"effects": Picture(size(found), lambda figure: draw(figure, of.header, found))} if found else {}


def draw(figure: Any, header: StudyHeader, found: Sequence[Effect]) -> None:
    """One line for each option; a mark is filled where its interval leaves out 0."""
    axes, shown = figure.add_subplot(), found[:MOST]
    axes.axvline(0, color=BLACK, linewidth=1)
    for place, effect in enumerate(shown):
        clear = effect.half_width is not None and abs(effect.gain) > effect.half_width
        color = BLUE if clear else GREY
        if effect.half_width is not None:
            ends = [header.metric.shown(effect.gain + side * effect.half_width) for side in (-1, 1)]
            axes.plot(ends, [place, place], color=color, linewidth=2)
        face = color if clear else "white"
        axes.scatter([header.metric.shown(effect.gain)], [place], s=36, facecolors=face, edgecolors=color, zorder=3)
        if place and effect.choice != shown[place - 1].choice:
            axes.axhline(place - 0.5, color=FAINT, linewidth=0.8)
    names = [f"{plain(effect.choice)} = {plain(str(effect.option))} ({effect.trials})" for effect in shown]
    axes.set_yticks(range(len(shown)), names, color="#222222", fontsize=8.5)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(header.metric.of_differences(f"effect on mean {header.split} {header.metric.title}"))
    axes.set_title("━ 95 % interval (Welch)   ● excludes 0   (trials)", fontsize=8.5, color=GREY, loc="left")


def size(found: Sequence[Effect]) -> tuple[float, float]:
    """Width and height in inches."""
    return 7.0, 1.2 + 0.23 * min(MOST, len(found))
