"""The score by epoch: one curve for each row or label, with the band of its seeds or trials."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.escape import plain
from acmix_nas.report.figures import Picture
from acmix_nas.report.pareto import complete, score_label
from acmix_nas.report.picture import BLACK, BLUE, FAINT, GREEN, GREY, ORANGE, SKY, VERMILLION

SIZE = (7.0, 4.2)
MOST = 12
"""Curves in one picture; of more rows the ones that end best."""
COLORS = (BLUE, VERMILLION, GREEN, ORANGE, BLACK, SKY)
LINES = ("-", "--", "-.", ":")


def pictures(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, Picture]:
    """One picture."""
    return {"curves": Picture(SIZE, lambda figure: draw(figure, header, records))}


def draw(figure: Any, header: StudyHeader, records: Sequence[TrialRecord]) -> None:
    """The mean over the trials of each row, and from the lowest to the highest of them as a band."""
    axes = figure.add_subplot()
    trained = [record for record in complete(records) if record.shared_with is None]
    names = list(dict.fromkeys([*header.rows, *(record.label for record in trained)]))
    groups = {name: [record.scores for record in trained if record.label == name] for name in names}
    groups = {name: scores for name, scores in groups.items() if scores}
    metric = header.metric
    ends = {name: fmean(scores[-1] for scores in found) for name, found in groups.items()}
    kept = sorted(groups, key=lambda name: -metric.gain(ends[name]))[:MOST]
    for index, name in enumerate(name for name in groups if name in kept):
        length = min(map(len, groups[name]))
        columns = list(zip(*(scores[:length] for scores in groups[name]), strict=True))
        epochs, means = range(1, length + 1), [metric.shown(sum(column)) / len(column) for column in columns]
        color, line = COLORS[index % len(COLORS)], LINES[(index + index // len(COLORS)) % len(LINES)]
        shown = f"{plain(name) or '?'} ({len(groups[name])})"
        axes.plot(epochs, means, color=color, linestyle=line, linewidth=1.6, label=shown, marker="o", markersize=3)
        lows, highs = ([metric.shown(extreme(column)) for column in columns] for extreme in (min, max))
        axes.fill_between(epochs, lows, highs, color=color, alpha=0.14, linewidth=0)
    best = "highest" if metric.better == "higher" else "lowest"
    left = f"; the {MOST} of {len(groups)} rows that end {best}" if len(groups) > MOST else ""
    axes.set_title(f"mean, lowest and highest of the trials in brackets{left}", fontsize=8.5, color=GREY, loc="left")
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(score_label(header))
    axes.grid(color=FAINT, linewidth=0.6)
    figure.legend(frameon=False, fontsize=8.5, loc="outside right center")
