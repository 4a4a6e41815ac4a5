"""The score against a cost: the published families above, the trials of a study below, on one cost axis."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.escape import plain
from acmix_nas.report.figures import Picture
from acmix_nas.report.pareto import axis_label, complete, cost_of, front_of, score
from acmix_nas.report.picture import BLUE, GREEN, ORANGE, VERMILLION, finish
from acmix_nas.report.published import METRIC, Published, published, source

SIZE = (7.0, 6.6)
LOOKS = {
    "ResNet": ("o", BLUE, "-"),
    "SAN": ("^", GREEN, "--"),
    "PVT": ("s", ORANGE, "-."),
    "Swin": ("D", VERMILLION, ":"),
}
"""Family -> marker, colour, line: any one of them is enough to tell it."""


def pictures(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, Picture]:
    """One picture for each cost."""
    return {
        f"{header.metric.noun}-{cost}": Picture(SIZE, partial(draw, header=header, records=records, cost=cost))
        for cost in ("macs", "params")
    }


def draw(figure: Any, header: StudyHeader, records: Sequence[TrialRecord], cost: str) -> None:
    """Two panels, since accuracies of proxy training and of full training on ImageNet share no axis.

    Of a metric that nothing was published of there is only the panel of the study.
    """
    if header.metric.name != METRIC:
        _draw_study(figure.add_subplot(), header, records, cost)
        return
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for family in LOOKS:
        _draw_family(above, family, cost)
    above.set_ylabel("published top-1 on ImageNet, %")
    finish(above, f"Published ({source()}): filled with ACmix, open plain host or attention alone")
    above.margins(x=0.05, y=0.14)
    above.legend(frameon=False, fontsize=8.5, ncols=4, loc="lower right")
    _draw_study(below, header, records, cost)


def _value(model: Published, cost: str) -> float | None:
    return model.params_m if cost == "params" else model.macs_g


def _draw_family(axes: Any, family: str, cost: str) -> None:
    marker, color, line = LOOKS[family]
    for form in ("acmix", "plain", "attention"):
        models = [model for model in published() if (model.family, model.form) == (family, form)]
        known = [(value, model.top1_percent) for model in models if (value := _value(model, cost)) is not None]
        if not known:
            continue
        look: dict[str, Any] = {"marker": marker, "color": color, "linewidth": 1.2}
        if form == "acmix":
            look |= {"linestyle": line, "markersize": 7, "label": family}
        else:
            look |= {"linestyle": "none", "markersize": 6, "markerfacecolor": "white"}
        axes.plot(*zip(*sorted(known), strict=True), **look)


def _draw_study(axes: Any, header: StudyHeader, records: Sequence[TrialRecord], cost: str) -> None:
    scored = complete(records)
    best = {record.number for record in front_of(header, records)} if header.kind == "search" else set()
    inside = [record for record in scored if record.number not in best]
    for group, face, name in ((inside, "white", "trials"), ([r for r in scored if r.number in best], "black", "front")):
        points = [(cost_of(record, cost), header.metric.shown(score(record))) for record in group]
        if points:
            ring = {"facecolors": face, "edgecolors": "black", "linewidths": 0.9}
            axes.scatter(*zip(*points, strict=True), s=26, label=name, **ring)
    if best:
        axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    axes.set_xlabel(axis_label(cost, scored))
    axes.set_ylabel(header.metric.of_values(f"{header.metric.title}, {header.split} images"))
    finish(axes, f"Measured here: {plain(header.name)}, proxy training")
    axes.margins(x=0.05, y=0.14)
