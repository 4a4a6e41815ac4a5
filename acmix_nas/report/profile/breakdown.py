"""Where a network's parameters, multiply-adds and time go: by module, and by stage as in the paper's cost table."""

from collections.abc import Mapping
from typing import Any

from acmix_nas.cost.stages import SYMBOLS
from acmix_nas.report.table import NOTHING, Cell, Column, Table, numeric

COLUMNS = (
    numeric("stage", "stage"),
    Column(key="operator", title="operator"),
    numeric("blocks", "blocks"),
    Column(key="step", title="step"),
    Column(key="params_formula", title="params of a block", wrap=True, paper_width=0.17),
    numeric("params", "params (M)"),
    Column(key="macs_formula", title="MACs of a block", wrap=True, paper_width=0.2),
    numeric("macs", "MACs (G)"),
    numeric("macs_ratio", "MACs II / I"),
    numeric("time_ms", "time (ms)"),
    numeric("time_ratio", "time II / I"),
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


def where_table(where: Mapping[str, Any], mode: str) -> Table:
    """Where a network's parameters, multiply-adds and time go."""
    rows, by = where["rows"], where["by"]
    top = [row for row in rows if row["depth"] == 0]
    sums = {key: sum(row[key] or 0 for row in top) for key in ("params", "macs", "time_ms")}
    columns = [Column(key="name", title=by)]
    for key, word, unit in (("params", "params", "M"), ("macs", "MACs", "G"), ("time_ms", "time", "ms")):
        columns += [numeric(key, f"{word} ({unit})")]
        columns += [numeric(f"{key}_share", f"{word} %")]
    cells = []
    for row in rows:
        line = [Cell("\N{MIDDLE DOT} " * row["depth"] + row["name"], row["name"])]
        for key, amount, digits in (("params", 1e6, 3), ("macs", 1e9, 3), ("time_ms", 1.0, 2)):
            line += _amount_and_share(row[key], sums[key], amount, digits)
        cells.append(tuple(line))
    named = where["model"] + (f" ({where['impl']})" if where["impl"] else "")
    title = f"Where it goes, by {by}: {named}, batches of {where['batch_size']}"
    which = "inference passes" if mode == "inference" else "the forward pass of training"
    note = f"Times are of {which} with a timestamp at every module. The timestamps take time: read the times as shares."
    return Table(
        name=f"by-{by}", title=title, columns=tuple(columns), rows=tuple(cells), caption=f"{title}.", notes=(note,)
    )


def _amount_and_share(amount: float | None, whole: float, unit: float, digits: int) -> list[Cell]:
    if amount is None:
        return [NOTHING, NOTHING]
    share = amount / whole if whole else 0.0
    return [Cell(f"{amount / unit:.{digits}f}", amount), Cell(f"{100 * share:.1f}", share)]
