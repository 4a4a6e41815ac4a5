"""The paper's cost table: formula, count and time of stage I and stage II."""

from collections.abc import Mapping
from typing import Any

from acmix_nas.cost.stages import SYMBOLS
from acmix_nas.report.table import NOTHING, Cell, Column, Table

COLUMNS = (
    Column(key="stage", title="stage", numeric=True),
    Column(key="operator", title="operator"),
    Column(key="blocks", title="blocks", numeric=True),
    Column(key="step", title="step"),
    Column(key="params_formula", title="params of a block", wrap=True, paper_width=0.17),
    Column(key="params", title="params (M)", numeric=True),
    Column(key="macs_formula", title="MACs of a block", wrap=True, paper_width=0.2),
    Column(key="macs", title="MACs (G)", numeric=True),
    Column(key="macs_ratio", title="MACs II / I", numeric=True),
    Column(key="time_ms", title="time (ms)", numeric=True),
    Column(key="time_ratio", title="time II / I", numeric=True),
)
AMOUNTS = {
    "params": (1e6, ".3f"),
    "macs": (1e9, ".3f"),
    "macs_ratio": (1, ".2f"),
    "time_ms": (1, ".2f"),
    "time_ratio": (1, ".2f"),
}
"""Key -> unit and format."""


def paper_table(where: Mapping[str, Any]) -> Table:
    """The table of `acmix_nas.cost.stages.paper_rows`."""
    named = where["model"] + (f" ({where['impl']})" if where["impl"] else "")
    title = f"Stage I (projections) against stage II: {named}, time for batches of {where['batch_size']}"
    rows = where["rows"]
    formulas = " ".join(row[key] for row in rows for key in ("params_formula", "macs_formula"))
    used = set(formulas.replace("(", " ").replace(")", " ").replace("^", " ").replace("[", " ").split())
    letters = "; ".join(f"{letter}: {meaning}" for letter, meaning in SYMBOLS.items() if letter in used)
    notes = (
        f"{letters}.",
        "Params and MACs of all the blocks of a stage, exact. Times are of the operators in separate networks, "
        "with a timestamp at every module, which takes time itself; a dense convolution has no stage II.",
    )
    cells = tuple(tuple(_cell(row, column.key) for column in COLUMNS) for row in rows)
    return Table(name="stages", title=title, columns=COLUMNS, rows=cells, caption=f"{title}.", notes=notes)


def _cell(row: Mapping[str, Any], key: str) -> Cell:
    value = row[key]
    if value is None or value == "":
        return NOTHING
    unit, form = AMOUNTS.get(key, (1, ""))
    return Cell(format(value / unit, form) if form else str(value), value)
