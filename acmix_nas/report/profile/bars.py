"""A bar chart of a profile: latency of each row with its quartiles, in a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acmix_nas.report.escape import plain
from acmix_nas.report.picture import BLUE, GREY, ORANGE, finish, name_rows, new_figure
from acmix_nas.sizes import size_text

SHADES = (BLUE, ORANGE, "#a9c8de", GREY)
"""Colours of batch sizes, in turn; with the hatches they differ in grey print too."""
HATCHES = ("", "///", "...", "xxx")


def draw_bars(result: Mapping[str, Any], path: Path) -> None:
    """Draws a profile as horizontal bars and writes it.

    Args:
        result: Of `acmix_nas.cost.profile.profile_rows`.
        path: File to write; its ending names the format: .svg, .png or .pdf.
    """
    rows = result["rows"]
    batches = list(dict.fromkeys(row["requested_batch_size"] for row in rows))
    labels = [_label(row, rows) for row in rows if row["requested_batch_size"] == batches[0]]
    with new_figure(7.0, 1.5 + 0.34 * len(rows)) as figure:
        axes = figure.add_subplot()
        thickness = 0.8 / len(batches)
        for index, batch in enumerate(batches):
            mine = [row for row in rows if row["requested_batch_size"] == batch]
            places = [place + (index - (len(batches) - 1) / 2) * thickness for place in range(len(mine))]
            _draw_batch(axes, mine, places, thickness, index)
        name_rows(axes, [plain(label) for label in labels])
        axes.set_xlim(0, 1.15 * max(row["latency_q3_ms"] for row in rows))
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("latency of a batch, ms (median; whiskers: quartiles)")
        finish(axes, plain(_title(result["env"])), grid="x")
        if len(batches) > 1:
            figure.legend(frameon=False, fontsize=8.5, loc="outside upper right", ncols=len(batches))
        figure.savefig(path, dpi=200, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _draw_batch(
    axes: Any, rows: Sequence[Mapping[str, Any]], places: list[float], thickness: float, index: int
) -> None:
    values = [row["latency_ms"] for row in rows]
    below = [row["latency_ms"] - row["latency_q1_ms"] for row in rows]
    above = [row["latency_q3_ms"] - row["latency_ms"] for row in rows]
    fill = {"color": SHADES[index % len(SHADES)], "hatch": HATCHES[index % len(HATCHES)], "edgecolor": "white"}
    label = f"batch {rows[0]['batch_size']}"
    axes.barh(places, values, height=0.92 * thickness, linewidth=0, label=label, **fill)
    axes.errorbar(values, places, xerr=[below, above], fmt="none", ecolor="black", elinewidth=1, capsize=3)
    for value, beyond, place in zip(values, above, places, strict=True):
        text = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
        end = (value + beyond, place)
        axes.annotate(text, end, xytext=(6, 0), textcoords="offset points", va="center", fontsize=8)


def _label(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    models = {other["model"] for other in rows}
    if row["impl"] is None or row["impl"] == row["model"]:
        return str(row["model"])
    return str(row["impl"]) if len(models) == 1 else f"{row['model']}, {row['impl']}"


def _title(env: Mapping[str, Any]) -> str:
    size = size_text(env["input_size"])
    form = f"{env['form']} form, " if env.get("form") else ""
    where = f"{env['device_name']}, {env['threads']} threads"
    return f"{where}; {size} px, {env['dtype']}, {env['memory_format']}, {form}{env['mode']}"
