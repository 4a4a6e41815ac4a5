"""The differences of an ablation's rows to its baseline, with their simultaneous intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.claims import Claims, rows
from acmix_nas.report.escape import plain
from acmix_nas.report.figures import Picture
from acmix_nas.report.intervals import Difference
from acmix_nas.report.picture import BLACK, BLUE, GREY, VERMILLION, finish, name_rows

LOOKS = {"better": ("^", BLUE), "worse": ("v", VERMILLION)}


def pictures(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, Picture]:
    """One picture of an ablation that has differences."""
    if header.kind == "search":
        return {}
    found = Claims.of(header, rows(header, records)).gains
    size = 7.0, 1.3 + 0.32 * len(found)
    return {"intervals": Picture(size, lambda figure: draw(figure, header, found))} if found else {}


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
        ring = {"facecolors": face, "edgecolors": color, "zorder": 3}
        axes.scatter([metric.shown(gain.mean)], [place], marker=marker, s=52, **ring)
    name_rows(axes, [plain(name) for name in found])
    unit = f"{metric.points} of ".removeprefix(" of ")
    name = f"{unit}{header.split} {metric.title}"
    axes.set_xlabel(f"difference to {plain(header.baseline or '')}, {name} (proxy training)")
    finish(axes, "▲ better   ▼ worse   ○ no verdict   ━ simultaneous 95 % interval", grid="x")
