"""pareto.svg: score against cost for a search, score by row for an ablation. The same records, the same bytes."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from acmix_nas.metrics import COSTS
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.claims import Row, rows
from acmix_nas.report.escape import plain
from acmix_nas.report.pareto import axis_label, axis_of, complete, cost_of, edge, front_of, score, score_label, titles
from acmix_nas.report.sampling import sampling_fact
from acmix_nas.report.trials import REFERENCES

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00"
"""Okabe and Ito's colours, which colour-blind readers can distinguish."""
GREY, FAINT = "#6b7078", "#d9dbdf"

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "acmix",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#222222",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, slots=True)
class Mark:
    """How the trials of one label are drawn."""

    marker: str
    color: str
    size: float


REFERENCE_MARKS = {"plain host": Mark("s", BLACK, 50), "paper": Mark("D", VERMILLION, 46)}
OTHER_MARKS = (
    Mark("o", BLUE, 34),
    Mark("^", ORANGE, 40),
    Mark("v", GREEN, 40),
    Mark("P", SKY, 46),
    Mark("X", GREY, 44),
)


def draw(header: StudyHeader, records: Sequence[TrialRecord]) -> str:
    """The picture as SVG text; failed trials are not drawn."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    found = [row for row in rows(header, records) if row.trials] if header.kind == "ablate" else []
    with new_figure(7.0, 1.3 + 0.38 * len(found) if len(found) > 6 else 4.3) as figure:
        axes = figure.add_subplot()
        if not complete(records):
            axes.set_axis_off()
            place = {"ha": "center", "va": "center", "transform": axes.transAxes}
            axes.text(0.5, 0.5, "No trial is complete.", color=GREY, **place)
        elif header.kind == "ablate":
            _draw_rows(axes, header, found)
        else:
            _draw_front(axes, header, records)
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Any]:
    """An empty figure of a size in inches, to be drawn and written within the block."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield Figure(figsize=(width, height), layout="constrained")


def _draw_front(axes: Any, header: StudyHeader, records: Sequence[TrialRecord]) -> None:
    scored, cost = complete(records), axis_of(header)
    best = front_of(header, records)
    shown = header.metric.shown
    line = sorted((cost_of(record, cost), shown(score(record))) for record in edge(header, records, cost))
    where = "post" if COSTS[cost].better == "lower" else "pre"  # what a budget of so much buys
    several = len(header.objectives) > 2
    name = f"best by this cost; filled: front of {titles(header)}" if several else "Pareto front (filled)"
    axes.step(*zip(*line, strict=True), where=where, color=BLACK, linewidth=1.3, zorder=2, label=name)
    marks = _marks({record.label for record in scored})
    for label, mark in marks.items():
        same = [record for record in scored if record.label == label]
        points = [(cost_of(record, cost), shown(score(record))) for record in same]
        filled = [mark.color if record in best or label in REFERENCES else "white" for record in same]
        form = {"marker": mark.marker, "s": mark.size}
        ring = {"edgecolors": mark.color, "linewidths": 1.2, "zorder": 3}
        axes.scatter(*zip(*points, strict=True), facecolors=filled, **form, **ring)
        axes.scatter([], [], color=mark.color, label=plain(label) or "?", **form)
        if label in REFERENCES:
            _annotate(axes, label, points[0], mark)
    axes.margins(x=0.06, y=0.12)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(nbins=7)
    axes.ticklabel_format(useOffset=False)
    axes.set_xlabel(axis_label(cost, scored))
    axes.set_ylabel(score_label(header))
    finish(axes, "".join(f"{name}: {text}" for name, text in sampling_fact(header.metric, scored).items()))
    axes.figure.legend(frameon=False, fontsize=8.5, loc="outside upper left", ncols=6, labelcolor="#222222")


def finish(axes: Any, title: str, grid: str = "both") -> None:
    """What most pictures have: a grid behind the marks, and a line above them."""
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=8.5, color=GREY, loc="left")


def name_rows(axes: Any, names: Sequence[str], **font: Any) -> None:
    """A name for each place 0, 1, ... of the vertical axis, from the top."""
    axes.set_yticks(range(len(names)), names, color="#222222", **font)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _annotate(axes: Any, label: str, point: tuple[float, float], mark: Mark) -> None:
    from matplotlib.patheffects import withStroke

    place = {"xytext": (-4, 9), "textcoords": "offset points", "ha": "left"}
    halo = [withStroke(linewidth=3, foreground="white")]
    axes.annotate(label, point, fontsize=9, fontweight="bold", color=mark.color, path_effects=halo, zorder=4, **place)


def _marks(labels: set[str]) -> dict[str, Mark]:
    others = iter(OTHER_MARKS * (1 + len(labels) // len(OTHER_MARKS)))
    ranked = sorted(labels, key=lambda label: (REFERENCES.index(label) if label in REFERENCES else -1, label))
    return {label: REFERENCE_MARKS.get(label) or next(others) for label in ranked}


def _draw_rows(axes: Any, header: StudyHeader, found: Sequence[Row]) -> None:
    for height, row in enumerate(found):
        values = [header.metric.shown(value) for value in row.scores.values()]
        mean, is_base = sum(values) / len(values), row.name == header.baseline
        color = VERMILLION if is_base else BLUE
        if is_base:
            axes.axvline(mean, color=VERMILLION, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        if row.deviation is not None:
            spread = header.metric.shown(row.deviation)
            axes.plot([mean - spread, mean + spread], [height, height], color=color, linewidth=2, zorder=2)
        ring = {"facecolors": "white", "edgecolors": color, "linewidths": 1.1, "zorder": 3}
        axes.scatter(values, [height] * len(values), s=26, **ring)
        axes.scatter([mean], [height], marker="D", s=44, color=color, zorder=4)
    names = [plain(row.name) + (" (baseline)" if row.name == header.baseline else "") for row in found]
    name_rows(axes, names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.06)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.set_xlabel(score_label(header))
    axes.set_title("◆ mean   ○ one seed   ━ ± one standard deviation", fontsize=8.5, color=GREY, loc="left", pad=8)
