"""What mattered in a search: hypervolume by trial, choices, their options, alpha and beta over the front."""

from collections.abc import Mapping, Sequence
from typing import Any

from acmix_nas.record import StudyHeader
from acmix_nas.report.depth import Block
from acmix_nas.report.effects import Effect
from acmix_nas.report.escape import plain
from acmix_nas.report.mattered import Mattered, ideal
from acmix_nas.report.picture import BLACK, BLUE, FAINT, GREY, VERMILLION

SIZE = (7.0, 3.4)


def draw_hypervolume(figure: Any, told: Mattered) -> None:
    """A line of steps from the first trial to the last."""
    axes, course = figure.add_subplot(), told.course
    axes.step(range(1, len(course) + 1), course, where="post", color=BLUE, linewidth=1.6)
    axes.scatter([len(course)], [course[-1]], color=BLUE, s=26, zorder=3)
    end = (len(course), course[-1])
    axes.annotate(f"{course[-1]:.4f}", end, xytext=(-4, 6), textcoords="offset points", ha="right", fontsize=8.5)
    axes.margins(x=0.02, y=0.14)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.ticklabel_format(useOffset=False)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("trials ended")
    axes.set_ylabel("hypervolume, share of the box")
    axes.set_title(f"Reference: {told.box}; ideal: {ideal(told.metric)}", fontsize=8.5, color=GREY, loc="left")


MOST_CHOICES = 20
"""Choices that are drawn."""


def draw_importance(figure: Any, header: StudyHeader, told: Mattered) -> None:
    """Bars, largest first; behind them, lighter, with all choices that hang on a choice, and Optuna's as rings."""
    axes, shown = figure.add_subplot(), dict(list(told.importances.items())[:MOST_CHOICES])
    places, subtree = range(len(shown)), [told.subtree[name] for name in shown]
    optuna = [told.ped_anova.get(name, 0.0) for name in shown]
    axes.barh(places, subtree, color=BLUE, alpha=0.25, height=0.65, label="with all that hangs on it")
    axes.barh(places, list(shown.values()), color=BLUE, height=0.65, label="share of the variance")
    axes.plot(optuna, places, "o", color="#222222", mfc="white", markersize=5, label="Optuna's PED-ANOVA")
    axes.set_yticks(places, [plain(name) for name in shown], color="#222222")
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, max(0.05, *subtree, *optuna) * 1.15)
    for place, value in enumerate(shown.values()):
        end = max(subtree[place], optuna[place])
        axes.annotate(f"{value:.2f}", (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", fontsize=8)
    axes.set_xlabel(f"share of the variance of {header.split} {header.metric.title} (the number beside a bar)")
    axes.set_title(
        f"Of a model that predicts {max(told.explained, 0.0):.0%} of the trials' variance",
        fontsize=8.5,
        color=GREY,
        loc="left",
    )


def importance_size(shares: Mapping[str, float]) -> tuple[float, float]:
    """Width and height in inches."""
    return 7.0, 1.2 + 0.27 * min(MOST_CHOICES, len(shares))


MOST_OPTIONS = 40
"""Options that are drawn."""


def draw_effects(figure: Any, header: StudyHeader, found: Sequence[Effect]) -> None:
    """One line for each option; a mark is filled where its interval leaves out 0."""
    axes, shown = figure.add_subplot(), found[:MOST_OPTIONS]
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
    axes.set_title("━ 95 % interval (Welch)   ● leaves out 0   (trials)", fontsize=8.5, color=GREY, loc="left")


def effects_size(found: Sequence[Effect]) -> tuple[float, float]:
    """Width and height in inches."""
    return 7.0, 1.2 + 0.23 * min(MOST_OPTIONS, len(found))


ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
APART = 0.08
"""By how much the two weights of a block are set apart."""


def draw_front_mixing(figure: Any, blocks: Sequence[Block]) -> None:
    """A mark for each mean, a line for each range."""
    axes = figure.add_subplot()
    looks = ((f"|{ALPHA}| attention", BLUE, "o", "-", -APART), ("|β| convolution", VERMILLION, "s", "--", APART))
    for name, color, marker, line, aside in looks:
        spans = [block.alpha if aside < 0 else block.beta for block in blocks]
        places = [block.number + aside for block in blocks]
        means, lows, highs = zip(*spans, strict=True)
        axes.plot(places, means, color=color, linestyle=line, marker=marker, linewidth=1.4, markersize=5, label=name)
        axes.vlines(places, lows, highs, color=color, linewidth=4, alpha=0.3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.2)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("block of the trained network, first to last")
    axes.set_ylabel("weight after training")
    axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="upper center")
    most = max(block.trials for block in blocks)
    axes.set_title(
        f"mean and range over at most {most} of the front's trials, those that learn a block's weights",
        fontsize=8.5,
        color=GREY,
        loc="left",
    )
