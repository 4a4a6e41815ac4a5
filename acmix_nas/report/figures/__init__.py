"""Pictures for a paper, each in SVG, PDF or PNG, readable for the colour-blind and in grey print.

A new file here is a new picture: its function `pictures` takes header and records and gives `Picture`s by name.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from acmix_nas import registry
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.pareto import complete
from acmix_nas.report.picture import new_figure

FORMATS = ("svg", "pdf", "png")
FOLDER = "figures"
DPI = 220


class Picture(NamedTuple):
    """A picture that is still to be drawn.

    Attributes:
        size: Width and height in inches.
        draw: Draws it on an empty matplotlib figure.
    """

    size: tuple[float, float]
    draw: Callable[[Any], None]


def picture_files(header: StudyHeader, records: Sequence[TrialRecord], formats: Sequence[str]) -> dict[str, bytes]:
    """A study's pictures as files, by path in its folder.

    - accuracy-macs, accuracy-params: the trials, below the published families on the same cost axis; of a metric that
      nothing was published of the trials alone, as score-macs, score-params;
    - curves: the score by epoch, one curve with its band for each row or label;
    - mixing, or mixing-ROW for each row that learns them: |alpha|, |beta| and log |alpha / beta| by depth;
    - hypervolume (search): how much the front spans after each trial, from the study's reference point;
    - importance and effects (search): which choices matter, and what each of their options goes along with;
    - mixing-front (search): |alpha| and |beta| by depth over the trials of the front;
    - intervals (ablation): differences to the baseline;
    - iou-by-class and predictions (segmentation): a score of each class, and images with truth and predictions.

    The same records give the same SVG bytes.

    Args:
        header: What holds for all trials.
        records: The trials; without a complete one there is no picture.
        formats: Some of "svg", "pdf", "png".
    """
    if not formats or not complete(records):
        return {}
    drawers = [registry.load("report.figures", name) for name in registry.names("report.figures")]
    return {
        f"{FOLDER}/{name}.{form}": _drawn(form, picture)
        for drawer in drawers
        for name, picture in drawer.pictures(header, records).items()
        for form in formats
    }


def drawn_forms(folder: Path) -> tuple[str, ...]:
    """The forms in which a study's folder has pictures already."""
    return tuple(form for form in FORMATS if any((folder / FOLDER).glob(f"*.{form}")))


def _drawn(form: str, picture: Picture) -> bytes:
    buffer = io.BytesIO()
    with new_figure(*picture.size) as figure:
        picture.draw(figure)
        none = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}, "png": {}}[form]
        figure.savefig(buffer, format=form, dpi=DPI, metadata=none)
    return buffer.getvalue()
