"""Scored images with their truth and what networks predict, one row for each image."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.escape import plain
from acmix_nas.report.figures import Picture
from acmix_nas.report.predictions import Strips, strips

MOST_NETWORKS = 6
SIDE = 1.15
"""Inches of a picture."""


def pictures(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, Picture]:
    """One picture of a study whose records have predictions."""
    found = strips(header, records)
    if found is None:
        return {}
    columns = min(len(found.titles), 2 + MOST_NETWORKS)
    lines = -(-len(found.legend) // 4)
    size = SIDE * columns, SIDE * len(found.rows) + 0.5 + 0.2 * lines
    return {"predictions": Picture(size, lambda figure: draw(figure, found, columns))}


def draw(figure: Any, found: Strips, columns: int) -> None:
    """A grid of pictures with a legend below."""
    from matplotlib.patches import Patch

    grid = figure.subplots(len(found.rows), columns, squeeze=False)
    for line, row in zip(grid, found.rows, strict=True):
        for axes, picture in zip(line, row, strict=False):
            axes.set_axis_off()
            if picture is not None:
                axes.imshow(picture, interpolation="nearest")
    for axes, title in zip(grid[0], found.titles, strict=False):
        axes.set_title(fill(plain(title), 18), fontsize=7.5)
    patches = [
        Patch(facecolor=colour, edgecolor="#6b7078", linewidth=0.5, label=plain(name))
        for name, colour in found.legend.items()
    ]
    figure.legend(handles=patches, frameon=False, fontsize=7.5, loc="outside lower left", ncols=4)
