"""The differences of an ablation's rows to its baseline, with their simultaneous intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.claims import Claims
from acmix_nas.report.escape import plain
from acmix_nas.report.figures import Picture, Subject
from acmix_nas.report.intervals import Difference
from acmix_nas.report.picture import BLACK, BLUE, FAINT, GREY, VERMILLION
from acmix_nas.report.rows import rows

LOOKS = {"better": ("^", BLUE), "worse": ("v", VERMILLION)}


def pictures(of: Subject) -> dict[str, Picture]:
    """One picture of an ablation that has differences."""
    found = gains(of.header, of.records) if of.header.kind != "search" else {}
    return {"intervals": Picture(size(found), lambda figure: draw(figure, of.header, found))} if found else {}


def gains(header: StudyHeader, records: Sequence[TrialRecord]) -> Mapping[str, Difference]:
    """Row -> difference to the baseline."""
    return Claims.of(header, rows(header, records)).gains


def draw(figure: Any, header: StudyHeader, found: Mapping[str, Difference]) -> None:
    """One line for each row: its difference, its interval, and by its mark the verdict."""
    axes, metric = figure.add_subplot(), header.metric
    axes.axvline(0, color=BLACK, linewidth=1)
    for place, gain in enumerate(found.values()):
        marker, color = LOOKS.get(gain.verdict, ("o", GREY))
        if gain.half_width is not None:
            ends = [metric.shown(gain.mean - gain.half_width), metric.shown(gain.mean + gain.half_width)]
            axes.plot(ends, [place, place], color=color, linewidth=2)
        face = color if gain.verdict in LOOKS else "white"
        axes.scatter(
            [metric.shown(gain.mean)], [place], marker=marker, s=52, facecolors=face, edgecolors=color, zorder=3
        )
    axes.set_yticks(range(len(found)), [plain(name) for name in found], color="#222222")
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    unit = f"{metric.points} of ".removeprefix(" of ")
    name = f"{unit}{header.split} {metric.title}"
    axes.set_xlabel(f"difference to {plain(header.baseline or '')}, {name} (proxy training)")
    axes.set_title(
        "▲ better   ▼ worse   ○ no verdict   ━ simultaneous 95 % interval", fontsize=8.5, color=GREY, loc="left"
    )


def size(found: Mapping[str, Difference]) -> tuple[float, float]:
    """Width and height in inches."""
    return 7.0, 1.3 + 0.32 * len(found)
