"""Bars of a score by class, one colour and hatching for each network."""

from collections.abc import Sequence
from typing import Any

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.by_class import ClassScores, class_scores
from acmix_nas.report.escape import plain
from acmix_nas.report.figures import Picture
from acmix_nas.report.picture import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION, finish, name_rows

LOOKS = ((BLUE, ""), (ORANGE, "//"), (GREEN, ".."), (VERMILLION, "xx"), (SKY, "--"), (GREY, "\\\\"))
MOST_CLASSES, MOST_NETWORKS = 40, len(LOOKS)


def pictures(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, Picture]:
    """One picture of a study with scores by class; of many classes the first 40 by the best network's score."""
    found = class_scores(header, records)
    if found is None or not found.values:
        return {}
    bars = min(len(found.classes), MOST_CLASSES) * min(len(found.values), MOST_NETWORKS)
    size = 7.0, 1.2 + 0.12 * bars + 0.1 * min(len(found.classes), MOST_CLASSES)
    return {f"{found.score}-by-class": Picture(size, lambda figure: draw(figure, found))}


def draw(figure: Any, found: ClassScores) -> None:
    """A group of bars for each class."""
    axes = figure.add_subplot()
    networks = list(found.values.items())[:MOST_NETWORKS]
    best = [max((of[place] or 0.0 for _, of in networks), default=0.0) for place in range(len(found.classes))]
    order = sorted(range(len(found.classes)), key=lambda place: -best[place])[:MOST_CLASSES]
    height = 0.8 / len(networks)
    for number, (name, values) in enumerate(networks):
        color, hatch = LOOKS[number]
        places = [row - 0.4 + height * (number + 0.5) for row in range(len(order))]
        lengths = [100 * (values[place] or 0.0) for place in order]
        axes.barh(
            places, lengths, height, color=color, hatch=hatch, edgecolor="white", linewidth=0.4, label=plain(name)
        )
    name_rows(axes, [plain(found.classes[place]) for place in order], fontsize=8.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"{found.title}, %")
    finish(axes, "", grid="x")
    if len(networks) > 1:
        figure.legend(frameon=False, fontsize=8.5, loc="outside upper left", ncols=3, labelcolor="#222222")
