"""|alpha| and |beta| by depth over a search's front: the mean and the range of its trials."""

from collections.abc import Sequence
from typing import Any

from acmix_nas.report.depth import Block
from acmix_nas.report.figures import Picture, Subject
from acmix_nas.report.picture import BLUE, FAINT, GREY, VERMILLION

SIZE = (7.0, 3.4)
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
APART = 0.08
"""By how much the two weights of a block are set apart."""


def pictures(of: Subject) -> dict[str, Picture]:
    """One picture of a search whose front learns weights."""
    blocks = of.mattered.blocks
    return {"mixing-front": Picture(SIZE, lambda figure: draw(figure, blocks))} if blocks else {}


def draw(figure: Any, blocks: Sequence[Block]) -> None:
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
