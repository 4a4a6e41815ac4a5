"""Pictures for a paper, each in SVG, PDF or PNG: told apart by the colour-blind and in grey print."""

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from acmix_nas.files import replacing
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.escape import label
from acmix_nas.report.figures import (
    curves,
    differences,
    effects,
    families,
    front_mixing,
    hypervolume,
    importance,
    mixing,
)
from acmix_nas.report.mattered import mattered
from acmix_nas.report.pareto import complete
from acmix_nas.report.picture import STYLE

FORMATS = ("svg", "pdf", "png")
FOLDER = "figures"
DPI = 220

Draw = Callable[[Any], None]
"""Draws on an empty matplotlib figure."""


def draw_figures(
    folder: Path, header: StudyHeader, records: Sequence[TrialRecord], formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Writes a study's pictures into `folder`/figures.

    - accuracy-macs, accuracy-params: the trials, below the published families on the same cost axis; of a metric that
      nothing was published of the trials alone, as score-macs, score-params;
    - curves: the score by epoch, one curve with its band for each row or label;
    - mixing, or mixing-ROW for each row that learns them: |alpha|, |beta| and log |alpha / beta| by depth;
    - hypervolume (search): how much the front spans after each trial, from the study's reference point;
    - importance and effects (search): which choices matter, and what each of their options goes along with;
    - mixing-front (search): |alpha| and |beta| by depth over the trials of the front;
    - intervals (ablation): differences to the baseline.

    The same records give the same SVG bytes.

    Args:
        folder: The study's folder.
        header: What holds for all trials.
        records: The trials; without a complete one there is no picture.
        formats: Some of "svg", "pdf", "png".

    Returns:
        The files written.
    """
    pictures = picture_files(header, records, formats)
    for name, content in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in pictures]


def picture_files(header: StudyHeader, records: Sequence[TrialRecord], formats: Sequence[str]) -> dict[str, bytes]:
    """The same pictures as files, by path in the study's folder; nothing is written."""
    if not formats or not complete(records):
        return {}
    return {
        f"{FOLDER}/{name}.{form}": _drawn(form, size, draw)
        for name, (size, draw) in _figures(header, records).items()
        for form in formats
    }


def drawn_forms(folder: Path) -> tuple[str, ...]:
    """The forms in which a study's folder has pictures already."""
    return tuple(form for form in FORMATS if any((folder / FOLDER).glob(f"*.{form}")))


def _figures(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, tuple[tuple[float, float], Draw]]:
    """Name -> size in inches and what draws it."""
    found: dict[str, tuple[tuple[float, float], Draw]] = {}
    for cost in ("macs", "params"):
        found[f"{header.metric.noun}-{cost}"] = families.SIZE, _bound(families.draw, header, records, cost)
    found["curves"] = curves.SIZE, _bound(curves.draw, header, records)
    groups = mixing.groups(header, records)
    for name, trials in groups.items():
        suffix = "" if len(groups) == 1 else f"-{label(name)}"
        found[f"mixing{suffix}"] = mixing.SIZE, _bound(mixing.draw, name, trials)
    if header.kind == "search":
        found.update(_mattered(header, records))
    else:
        gains = differences.gains(header, records)
        if gains:
            found["intervals"] = differences.size(gains), _bound(differences.draw, header, gains)
    return found


def _mattered(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, tuple[tuple[float, float], Draw]]:
    told = mattered(header, records)
    found: dict[str, tuple[tuple[float, float], Draw]] = {}
    if told.course:
        found["hypervolume"] = hypervolume.SIZE, _bound(hypervolume.draw, told)
    if told.importances:
        found["importance"] = importance.size(told.importances), _bound(importance.draw, header, told)
    if told.effects:
        found["effects"] = effects.size(told.effects), _bound(effects.draw, header, told.effects)
    if told.blocks:
        found["mixing-front"] = front_mixing.SIZE, _bound(front_mixing.draw, told.blocks)
    return found


def _bound(draw: Callable[..., None], *values: Any) -> Draw:
    return lambda figure: draw(figure, *values)


def _drawn(form: str, size: tuple[float, float], draw: Draw) -> bytes:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**STYLE, "pdf.fonttype": 42}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        buffer = io.BytesIO()
        none = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}, "png": {}}[form]
        figure.savefig(buffer, format=form, dpi=DPI, metadata=none)
    return buffer.getvalue()
