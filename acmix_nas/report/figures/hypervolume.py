"""The hypervolume of a search's front against its trials."""

from typing import Any

from acmix_nas.report.figures import Picture, Subject
from acmix_nas.report.mattered import Mattered, ideal
from acmix_nas.report.picture import BLUE, FAINT, GREY

SIZE = (7.0, 3.4)


def pictures(of: Subject) -> dict[str, Picture]:
    """One picture of a search."""
    return {"hypervolume": Picture(SIZE, lambda figure: draw(figure, of.mattered))} if of.mattered.course else {}


def draw(figure: Any, found: Mattered) -> None:
    """A line of steps from the first trial to the last."""
    axes, course = figure.add_subplot(), found.course
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
    axes.set_title(f"Reference: {found.box}; ideal: {ideal(found.metric)}", fontsize=8.5, color=GREY, loc="left")
