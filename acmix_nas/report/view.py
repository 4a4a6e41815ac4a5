"""What of a table is shown, and in which form."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from acmix_nas.errors import UsageError
from acmix_nas.metrics import Metric
from acmix_nas.report.latex import as_latex
from acmix_nas.report.published import with_published
from acmix_nas.report.table import Table, as_csv, as_html, as_json, as_markdown, as_text

FORMS: Mapping[str, Callable[[Table], str]] = {
    "plain": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "html": as_html,
    "csv": as_csv,
    "json": as_json,
}
"""Name of a form -> the table as text; "rich" is a terminal's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A choice of columns.

    Attributes:
        columns: Keys of the columns, in the order they are shown in; the usual ones if empty.
        compare: "published" for the paper's numbers beside the measured ones, or None.
        form: A key of `FORMS`, "rich", or None for rich on a terminal and plain in a pipe.
    """

    columns: tuple[str, ...] = ()
    compare: str | None = None
    form: str | None = None

    def of(self, table: Table, metric: Metric) -> Table:
        """The table with these columns only.

        Args:
            table: All of it.
            metric: What its scores are.

        Raises:
            UsageError: It has no such column, or nothing was published of the metric.
        """
        table = with_published(table, metric) if self.compare == "published" else table
        known = {column.key: index for index, column in enumerate(table.columns)}
        unknown = [key for key in self.columns if key not in known]
        if unknown:
            raise UsageError(f"--columns: there is no column {unknown[0]!r}; there are {', '.join(known)}.")
        usual = [index for index, column in enumerate(table.columns) if column.usual]
        chosen = [known[key] for key in self.columns] or usual
        return replace(
            table,
            columns=tuple(table.columns[index] for index in chosen),
            rows=tuple(tuple(row[index] for index in chosen) for row in table.rows),
        )
