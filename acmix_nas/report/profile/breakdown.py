"""The table of where a network's parameters, multiply-adds and time go."""

from collections.abc import Mapping
from typing import Any

from acmix_nas.report.table import NOTHING, Cell, Column, Table


def where_table(where: Mapping[str, Any], mode: str) -> Table:
    """Where a network's parameters, multiply-adds and time go."""
    rows, by = where["rows"], where["by"]
    top = [row for row in rows if row["depth"] == 0]
    sums = {key: sum(row[key] or 0 for row in top) for key in ("params", "macs", "time_ms")}
    columns = [Column(key="name", title=by)]
    for key, word, unit in (("params", "params", "M"), ("macs", "MACs", "G"), ("time_ms", "time", "ms")):
        columns += [Column(key=key, title=f"{word} ({unit})", numeric=True)]
        columns += [Column(key=f"{key}_share", title=f"{word} %", numeric=True)]
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
