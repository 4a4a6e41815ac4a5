"""What mattered in a search: its hypervolume, the importance and the effects of choices, alpha and beta by depth."""

from collections.abc import Sequence
from typing import Any

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.escape import plain
from acmix_nas.report.figures import Picture
from acmix_nas.report.mattered import Mattered, ideal, mattered
from acmix_nas.report.picture import BLACK, BLUE, FAINT, GREY, VERMILLION, finish, name_rows

SIZE = (7.0, 3.4)
MOST_CHOICES, MOST_OPTIONS = 20, 40
"""How many are drawn."""
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
APART = 0.08
"""By how much the two weights of a block are set apart."""


def pictures(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, Picture]:
    """Those of which something is known; none of an ablation."""
    found = mattered(header, records)
    choices, options = min(MOST_CHOICES, len(found.importances)), min(MOST_OPTIONS, len(found.effects))
    drawn = {
        "hypervolume": (found.course, Picture(SIZE, lambda figure: draw_hypervolume(figure, found))),
        "importance": (
            choices,
            Picture((7.0, 1.2 + 0.27 * choices), lambda figure: draw_shares(figure, header, found)),
        ),
        "effects": (options, Picture((7.0, 1.2 + 0.23 * options), lambda figure: draw_effects(figure, header, found))),
        "mixing-front": (found.blocks, Picture(SIZE, lambda figure: draw_blocks(figure, found))),
    }
    return {name: picture for name, (known, picture) in drawn.items() if known}


def draw_hypervolume(figure: Any, found: Mattered) -> None:
    """The hypervolume of the front against the trials: a line of steps from the first trial to the last."""
    axes, course = figure.add_subplot(), found.course
    axes.step(range(1, len(course) + 1), course, where="post", color=BLUE, linewidth=1.6)
    axes.scatter([len(course)], [course[-1]], color=BLUE, s=26, zorder=3)
    end = (len(course), course[-1])
    axes.annotate(f"{course[-1]:.4f}", end, xytext=(-4, 6), textcoords="offset points", ha="right", fontsize=8.5)
    axes.margins(x=0.02, y=0.14)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.ticklabel_format(useOffset=False)
    axes.set_xlabel("trials ended")
    axes.set_ylabel("hypervolume, share of the box")
    finish(axes, f"Reference: {found.box}; ideal: {ideal(found.metric)}")


def draw_shares(figure: Any, header: StudyHeader, found: Mattered) -> None:
    """Bars, largest first; behind them, lighter, with the children of a choice; Optuna's as open circles."""
    axes, shown = figure.add_subplot(), dict(list(found.importances.items())[:MOST_CHOICES])
    places, subtree = range(len(shown)), [found.subtree[name] for name in shown]
    optuna = [found.ped_anova.get(name, 0.0) for name in shown]
    axes.barh(places, subtree, color=BLUE, alpha=0.25, height=0.65, label="with its children")
    axes.barh(places, list(shown.values()), color=BLUE, height=0.65, label="share of the variance")
    axes.plot(optuna, places, "o", color="#222222", mfc="white", markersize=5, label="Optuna's PED-ANOVA")
    name_rows(axes, [plain(name) for name in shown])
    axes.set_xlim(0, max(0.05, *subtree, *optuna) * 1.15)
    for place, value in enumerate(shown.values()):
        end = max(subtree[place], optuna[place])
        axes.annotate(f"{value:.2f}", (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
    axes.legend(loc="lower right", fontsize=8)
    axes.set_xlabel(f"share of the variance of {header.split} {header.metric.title} (the number beside a bar)")
    finish(axes, f"Of a model that predicts {max(found.explained, 0.0):.0%} of the trials' variance", grid="x")


def draw_effects(figure: Any, header: StudyHeader, found: Mattered) -> None:
    """The marginal effect of each option: a line for each; a mark is filled where its interval leaves out 0."""
    axes, shown = figure.add_subplot(), found.effects[:MOST_OPTIONS]
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
    name_rows(axes, names, fontsize=8.5)
    axes.set_xlabel(header.metric.of_differences(f"effect on mean {header.split} {header.metric.title}"))
    finish(axes, "━ 95 % interval (Welch)   ● excludes 0   (trials)", grid="x")


def draw_blocks(figure: Any, found: Mattered) -> None:
    """|alpha| and |beta| by depth over the front: a mark for each mean, a line for each range of its trials."""
    axes, blocks = figure.add_subplot(), found.blocks
    looks = ((f"|{ALPHA}| attention", BLUE, "o", "-", -APART), ("|β| convolution", VERMILLION, "s", "--", APART))
    for name, color, marker, line, aside in looks:
        spans = [block.alpha if aside < 0 else block.beta for block in blocks]
        places = [block.number + aside for block in blocks]
        means, lows, highs = zip(*spans, strict=True)
        axes.plot(places, means, color=color, linestyle=line, marker=marker, linewidth=1.4, markersize=5, label=name)
        axes.vlines(places, lows, highs, color=color, linewidth=4, alpha=0.3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.2)
    axes.set_xlabel("block of the trained network, first to last")
    axes.set_ylabel("weight after training")
    axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="upper center")
    most = max(block.trials for block in blocks)
    finish(axes, f"mean and range over at most {most} of the front's trials, those that learn a block's weights", "y")
