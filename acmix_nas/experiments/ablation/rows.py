"""The rows of a table: written out, or made from axes, from a space's neighbours, or from places of ACmix."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TypeAlias

from acmix_nas.arch import Arch
from acmix_nas.errors import ArchError, SpaceError
from acmix_nas.experiments.ablation.change import Changes, change, read_changes, read_field
from acmix_nas.space import Space
from acmix_nas.space.document import Node

BASE = "base"
"""The row that changes nothing."""
MOST_ROWS = 1000
PLAIN = "plain host"
"""The first network of a space whose blocks are the host's own."""

Axis: TypeAlias = Mapping[str, Changes]
"""Name of an option -> what it changes."""


@dataclass(frozen=True, slots=True)
class Row:
    """A network with the place in the file that asks for it."""

    arch: Arch
    node: Node


def read_rows(top: Mapping[str, Node], space: Space, base: Arch) -> dict[str, Row]:
    """All rows of a file, by name; two may be the same network.

    Args:
        top: Fields of the file; `rows` or `axes` is among them.
        space: The space, with the depths of the base.
        base: The network that rows change.

    Raises:
        SpaceError: A row cannot be made; the message names file, line and field.
    """
    rows: dict[str, Row] = {}
    if "rows" in top:
        rows |= _written(top["rows"], space, base)
    if "axes" in top:
        made = _made(top["axes"], top.get("combine"), space, base)
        twice = [name for name in made if name in rows]
        if twice:
            raise top["axes"].error(f"makes a row {twice[0]!r} that `rows` has already; rename it there.")
        rows |= made
    elif "combine" in top:
        raise top["combine"].error("says how axes are combined, and there is no `axes`.")
    return rows


def _written(node: Node, space: Space, base: Arch) -> dict[str, Row]:
    if node.value == "neighbours":
        return {name: Row(arch, node) for name, arch in _neighbours(node, space, base)}
    if node.value == "placement":
        return {name: Row(arch, node) for name, arch in _placements(node, space, base)}
    return {
        name: Row(_changed(item, space, base, read_changes(item, space.depths)), item)
        for name, item in node.mapping().items()
    }


def _made(node: Node, combine: Node | None, space: Space, base: Arch) -> dict[str, Row]:
    axes = list(_axes(node, space))
    how = combine.text(["grid", "one-at-a-time"]) if combine else "grid"
    if how == "grid":
        if (count := prod(map(len, axes))) > MOST_ROWS:
            raise node.error(
                f"a table has at most {MOST_ROWS} rows; these are {count}. Take fewer options, or one-at-a-time."
            )
        sets = [_joined(options) for options in product(*(axis.items() for axis in axes))]
        return {name: Row(_changed(node, space, base, changes), node) for name, changes in sets}
    rows = {BASE: Row(base, node)}
    for axis in axes:
        for name, changes in axis.items():
            arch = _changed(node, space, base, changes)
            if arch != base:
                rows[name] = Row(arch, node)
    return rows


def _axes(node: Node, space: Space) -> Iterator[Axis]:
    fields = node.mapping()
    for name, item in fields.items():
        if isinstance(item.value, dict):
            yield {label: read_changes(option, space.depths) for label, option in item.value.items()}
            continue
        for path in _expanded(name, len(space.depths)):
            options = [option.scalar() for option in item.items()]
            places = [read_field(path, option, space.depths) for option in item.items()]
            alone = len(fields) == 1 and path == name and "." not in name
            yield {
                str(option) if alone and isinstance(option, str) else f"{path} {option}": dict([place])
                for option, place in zip(options, places, strict=True)
            }


def _expanded(name: str, stages: int) -> list[str]:
    """stages.*.FIELD stands for one axis in each stage."""
    return [name.replace("*", str(stage), 1) for stage in range(stages)] if name.startswith("stages.*.") else [name]


def _joined(options: Sequence[tuple[str, Changes]]) -> tuple[str, Changes]:
    changes = {place: value for _, part in options for place, value in part.items()}
    return ", ".join(name for name, _ in options), changes


def _changed(node: Node, space: Space, base: Arch, changes: Changes) -> Arch:
    try:
        return change(base, changes, space)
    except (ArchError, TypeError) as error:
        raise node.error(str(error)) from error


def _neighbours(node: Node, space: Space, base: Arch) -> Iterator[tuple[str, Arch]]:
    """The base and every network of the space that is one edit away."""
    try:
        values = space.values(base)
    except SpaceError as error:
        raise node.error(f"the base needs to be in the space. {error}") from error
    yield BASE, base
    for other in space.neighbours(values):
        edits = [f"{name} {value}" for name, value in other.items() if values.get(name) != value]
        yield ", ".join(edits) or "fewer choices", space.build(other)


def _placements(node: Node, space: Space, base: Arch) -> Iterator[tuple[str, Arch]]:
    """ACmix nowhere, in each stage alone, in the first ones, in the last ones, everywhere."""
    if PLAIN not in space.first:
        raise node.error(f"{space.name} has no first network {PLAIN!r}, which placement needs elsewhere.")
    plain = space.build(space.first[PLAIN])
    stages = range(len(base.stages))
    runs = [(), *((stage,) for stage in stages), *(tuple(range(end)) for end in stages[2:])]
    runs += [tuple(range(start, len(stages))) for start in stages[1:-1]]
    for run in [*runs, tuple(stages)]:
        mixed = [base.stages[stage] if stage in run else plain.stages[stage] for stage in stages]
        yield (
            _named(run, len(stages)),
            Arch.canonical(host=base.host, stages=mixed, conv_on=base.conv_on or space.conv_on),
        )


def _named(run: tuple[int, ...], stages: int) -> str:
    if len(run) in (0, stages):
        return "all" if run else "none"
    return f"stage {run[0] + 1}" if len(run) == 1 else f"stages {run[0] + 1}-{run[-1] + 1}"
