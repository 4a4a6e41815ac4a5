"""|alpha|, |beta| and log |alpha / beta| by depth, with the band of the seeds; for any host."""

from collections.abc import Sequence
from math import log
from statistics import fmean, stdev
from typing import Any

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.depth import learns, starts
from acmix_nas.report.escape import plain
from acmix_nas.report.pareto import complete, front_of
from acmix_nas.report.picture import BLUE, FAINT, GREY, VERMILLION

SIZE = (7.0, 4.8)
MOST = 8
"""Rows with a picture."""
PAPER = "paper"
"""Label of the paper's network in every space."""
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
Band = tuple[float, float, float]
"""Mean, lower and upper end over the seeds."""


def groups(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Rows whose blocks learn their weights, with their seeds; of a search its best trial, and the paper's network."""
    if header.kind == "search":
        best = [record for record in front_of(header, records) if learns(record)][:1]
        paper = [record for record in complete(records) if record.label == PAPER and learns(record)]
        return {f"trial {record.number}": [record] for record in best} | ({PAPER: paper[:1]} if paper else {})
    learning = [record for record in complete(records) if learns(record) and record.shared_with is None]
    names = list(dict.fromkeys(record.label for record in learning))[:MOST]
    return {name: [record for record in learning if record.label == name] for name in names}


def draw(figure: Any, name: str, trials: Sequence[TrialRecord]) -> None:
    """Weights above, their log ratio below; an open mark has not moved from its start as far as the seeds tell."""
    above, below = figure.subplots(2, 1, sharex=True)
    blocks = range(len(trials[0].mixing[-1]))
    before = starts(trials[0])
    learned = [[] if start is None else pairs for pairs, start in zip(_pairs(trials), before, strict=False)]
    for side, (text, color, marker, line) in enumerate(
        ((f"|{ALPHA}| attention", BLUE, "o", "-"), ("|β| convolution", VERMILLION, "s", "--"))
    ):
        values = [_band([abs(pair[side]) for pair in pairs]) for pairs in learned]
        _draw_line(above, blocks, values, [None if s is None else s[side] for s in before], (color, marker, line, text))
    ratios = [_band([log(abs(a) / abs(b)) for a, b in pairs if a and b]) for pairs in learned]
    zero = [None if s is None else log(s[0] / s[1]) for s in before]
    _draw_line(below, blocks, ratios, zero, ("black", "D", "-", f"log |{ALPHA} / β|"))
    below.axhline(0, color=GREY, linewidth=1)
    above.set_ylabel("weight after training")
    above.legend(frameon=False, fontsize=8.5, ncols=2, loc="upper center")
    above.margins(y=0.22)
    below.set_ylabel(f"log |{ALPHA} / β|")
    below.set_xlabel("block of the trained network, first to last; lines between stages")
    band = (
        f"band: 95 % over {len(trials)} seeds" if len(trials) > 1 else "one seed: no band, so no block is called moved"
    )
    above.set_title(f"{plain(name)}; {band}; open: not moved from its start", fontsize=8.5, color=GREY, loc="left")
    _mark_stages(trials[0], (above, below))


def moved(band: Band, start: float | None) -> bool:
    """Whether the band of the seeds leaves out the value before training."""
    return start is not None and not band[1] <= start <= band[2]


def _pairs(trials: Sequence[TrialRecord]) -> list[list[tuple[float, float]]]:
    """(alpha, beta) of every seed, for each block."""
    return [
        [pair for pair in column if pair is not None] for column in zip(*(t.mixing[-1] for t in trials), strict=True)
    ]


def _band(values: Sequence[float]) -> Band | None:
    """Mean and Student's 95 % interval over seeds; of one seed everything, since it tells nothing of the spread."""
    if not values:
        return None
    mean = fmean(values)
    if len(values) == 1:
        return mean, float("-inf"), float("inf")
    from acmix_nas.report.intervals import quantile

    half = quantile(((1.0,),), len(values) - 1) * stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half


def _draw_line(
    axes: Any, blocks: range, bands: list[Band | None], starts: list[float | None], look: tuple[str, str, str, str]
) -> None:
    color, marker, line, text = look
    known = [(block, band) for block, band in zip(blocks, bands, strict=True) if band is not None]
    if not known:
        return
    places = [block + 1 for block, _ in known]
    axes.plot(places, [band[0] for _, band in known], color=color, linestyle=line, linewidth=1.4, zorder=2)
    for block, band in known:
        if band[1] > float("-inf"):
            axes.plot([block + 1] * 2, band[1:], color=color, linewidth=5, alpha=0.25, solid_capstyle="butt", zorder=1)
    faces = [color if moved(band, starts[block] if block < len(starts) else None) else "white" for block, band in known]
    axes.scatter(
        places, [band[0] for _, band in known], marker=marker, s=30, facecolors=faces, edgecolors=color, zorder=3
    )
    axes.plot([], [], color=color, marker=marker, linestyle=line, label=text)


def _mark_stages(record: TrialRecord, panels: Sequence[Any]) -> None:
    depths = record.proxy.get("depths")
    ends = [sum(depths[: i + 1]) for i in range(len(depths) - 1)] if isinstance(depths, list | tuple) else []
    for axes in panels:
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
        for end in ends:
            axes.axvline(end + 0.5, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
