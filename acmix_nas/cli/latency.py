"""Latency tables on the command line: building one, and showing what one says beside what is measured."""

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acmix_nas.cli._say import say
from acmix_nas.errors import UsageError

if TYPE_CHECKING:
    from acmix_nas.cost.execution import Execution
    from acmix_nas.cost.latency import LatencyTable
    from acmix_nas.cost.network import Network


def build_file(
    space_name: str,
    file: Path,
    *,
    how: "Execution",
    batch_sizes: Sequence[int],
    input_size: tuple[int, int] | None,
    progress: Callable[[str, float, float], None],
) -> dict[str, Any]:
    """Builds the table of a space, writes it, and returns what is said about it, in plain values."""
    from acmix_nas.cost.latency_build import build_table
    from acmix_nas.space import load_space

    space = load_space(space_name)
    if len(batch_sizes) > 1:
        raise UsageError(f"a latency table is for one batch size; {', '.join(map(str, batch_sizes))} are given.")
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {str(file.parent)!r} to write {file.name} in.")
    table = build_table(space, how=how, batch_size=batch_sizes[0], input_size=input_size, progress=progress)
    table.save(file)
    assert table.check is not None
    return {
        "file": str(file),
        "space": table.space,
        "blocks": len(table.mixers_ms),
        "rest_ms": table.rest_ms,
        "env": dict(table.env),
        "held_out": len(table.check.measured_ms),
        "spearman": table.check.spearman,
        "median_error": table.check.median_error,
        "worst_error": table.check.worst_error,
    }


def print_built(built: dict[str, Any]) -> None:
    """Says what was written, and how far it can be believed."""
    say(
        f"{built['file']}: {built['blocks']} blocks of {built['space']} on {built['env']['device_name']}, "
        f"{built['env']['threads']} threads.\n"
        f"{built['held_out']} networks held out, measured whole against the table's sum: rank correlation "
        f"(Spearman) {built['spearman']:.3f}, error {built['median_error']:.1%} in the median, "
        f"{built['worst_error']:.1%} at worst."
    )


def load_table(file: Path, how: "Execution", batch_sizes: Sequence[int], size: tuple[int, int]) -> "LatencyTable":
    """Reads a table that is to be shown beside a profile; warns if it is another machine's.

    Raises:
        UsageError: It was measured in another way than the profile is.
    """
    from acmix_nas.cost.environment import environment
    from acmix_nas.cost.latency import LatencyTable

    table = LatencyTable.load(file)
    here = {**how.to_dict(), "batch size": list(batch_sizes), "input size": size}
    there = {**table.how, "batch size": [table.batch_size], "input size": table.input_size}
    apart = [
        f"{name} {there.get(name)} there, {value} here" for name, value in here.items() if there.get(name) != value
    ]
    if apart:
        raise UsageError(
            f"{file} was measured in another way: {'; '.join(apart)}. Profile as it was, or build another."
        )
    differences = table.differences(environment(how.device))
    if differences:
        say(f"Warning: {file} is another machine's table: {'; '.join(differences)}.", err=True)
    return table


def add_told(rows: Sequence[dict[str, Any]], networks: Sequence["Network"], table: "LatencyTable") -> None:
    """Adds what a table says of each row's network, in milliseconds; None for networks that are not ours."""
    for row, network in zip(rows, cycle(networks), strict=False):
        row["latency_table_ms"] = None if network.arch is None else table.latency_ms(network.arch)
