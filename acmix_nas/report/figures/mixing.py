"""|alpha|, |beta| and log |alpha / beta| by depth beside the norms of what both paths contribute; for any host."""

from collections.abc import Sequence
from functools import partial
from math import log
from statistics import fmean, stdev
from typing import Any

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.depth import learns, starts
from acmix_nas.report.escape import label, plain
from acmix_nas.report.figures import Picture
from acmix_nas.report.pareto import complete, front_of
from acmix_nas.report.picture import BLUE, FAINT, GREY, VERMILLION

SIZE = (7.2, 4.8)
MOST = 8
"""Rows with a picture."""
PAPER = "paper"
"""Label of the paper's network in every space."""
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
WEIGHTS = f"|{ALPHA}| attention", "|β| convolution", f"log |{ALPHA} / β|"
NORMS = f"‖{ALPHA}·F_att‖", "‖β·F_conv‖", "log of their ratio"
Pair = tuple[float, float]
Band = tuple[float, float, float]
"""Mean, lower and upper end over the seeds."""


def pictures(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, Picture]:
    """A picture for each row whose blocks learn their weights."""
    found = groups(header, records)
    return {
        "mixing" if len(found) == 1 else f"mixing-{label(name)}": Picture(SIZE, partial(draw, name=name, trials=trials))
        for name, trials in found.items()
    }


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
    """Weights and their log ratio; beside them, if the records have them, those of the norms of both contributions.

    An open mark has not moved from its start, as far as the seeds tell; norms have no start.
    """
    has_norms = all(trial.norms for trial in trials)
    panels = figure.subplots(2, 2 if has_norms else 1, sharex=True, squeeze=False)
    before = starts(trials[0])
    learned = [[] if start is None else pairs for pairs, start in zip(_pairs(trials, "mixing"), before, strict=False)]
    _draw_pairs(panels[:, 0], WEIGHTS, learned, before)
    panels[0, 0].set_ylabel("weight after training")
    if has_norms:
        _draw_pairs(panels[:, 1], NORMS, _pairs(trials, "norms"), ())
        panels[0, 1].set_ylabel("norm on the scored images")
    seeds = len(trials)
    band = f"band: 95 % over {seeds} seeds" if seeds > 1 else "one seed: no band, so no block counts as moved"
    text = f"{plain(name)}; {band}; open: not moved from its initial value"
    figure.suptitle(text, fontsize=8.5, color=GREY, x=0.01, ha="left")
    for axes in panels.flat:
        _mark_stages(trials[0], axes)
    for axes in panels[1]:
        axes.set_xlabel("block, first to last; lines between stages")


def _draw_pairs(
    panels: Sequence[Any], names: tuple[str, str, str], pairs: list[list[Pair]], starts: Sequence[Pair | None]
) -> None:
    """Both values of a pair above, the log of their ratio below."""
    above, below = panels
    for side, (color, marker, line) in enumerate(((BLUE, "o", "-"), (VERMILLION, "s", "--"))):
        bands = [_band([abs(pair[side]) for pair in block]) for block in pairs]
        _draw_line(above, bands, [start and start[side] for start in starts], (color, marker, line, names[side]))
    ratios = [_band([log(abs(a) / abs(b)) for a, b in block if a and b]) for block in pairs]
    _draw_line(below, ratios, [start and log(start[0] / start[1]) for start in starts], ("black", "D", "-", names[2]))
    below.axhline(0, color=GREY, linewidth=1)
    below.set_ylabel(names[2])
    above.margins(y=0.25)
    above.legend(frameon=False, fontsize=8.5, ncols=2, loc="upper center")


def moved(band: Band, start: float | None) -> bool:
    """Whether the band of the seeds leaves out the value before training."""
    return start is not None and not band[1] <= start <= band[2]


def _pairs(trials: Sequence[TrialRecord], name: str) -> list[list[Pair]]:
    """The pairs of every seed after the last epoch, for each block."""
    columns = zip(*(getattr(trial, name)[-1] for trial in trials), strict=True)
    return [[pair for pair in column if pair is not None] for column in columns]


def _band(values: Sequence[float]) -> Band | None:
    """Mean and Student's 95 % interval over seeds; of one seed everything, since it does not show the spread."""
    if not values:
        return None
    mean = fmean(values)
    if len(values) == 1:
        return mean, float("-inf"), float("inf")
    from acmix_nas.report.intervals import quantile

    half = quantile(((1.0,),), len(values) - 1) * stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half


def _draw_line(
    axes: Any, bands: list[Band | None], starts: Sequence[float | None], look: tuple[str, str, str, str]
) -> None:
    """A mark for each block; without starts all marks are filled."""
    color, marker, line, text = look
    known = [(block, band) for block, band in enumerate(bands) if band is not None]
    if not known:
        return
    places = [block + 1 for block, _ in known]
    means = [band[0] for _, band in known]
    axes.plot(places, means, color=color, linestyle=line, linewidth=1.4, zorder=2)
    for block, band in known:
        if band[1] > float("-inf"):
            axes.plot([block + 1] * 2, band[1:], color=color, linewidth=5, alpha=0.25, solid_capstyle="butt", zorder=1)
    faces = [color if not starts or moved(band, starts[block]) else "white" for block, band in known]
    axes.scatter(places, means, marker=marker, s=30, facecolors=faces, edgecolors=color, zorder=3)
    axes.plot([], [], color=color, marker=marker, linestyle=line, label=text)


def _mark_stages(record: TrialRecord, axes: Any) -> None:
    depths = record.proxy.get("depths")
    ends = [sum(depths[: i + 1]) for i in range(len(depths) - 1)] if isinstance(depths, list | tuple) else []
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.xaxis.get_major_locator().set_params(integer=True)
    for end in ends:
        axes.axvline(end + 0.5, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
