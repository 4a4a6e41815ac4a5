"""The rows of a table: written out, or made from axes, from a space's neighbours, or from places of ACmix."""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import NamedTuple, TypeAlias

from acmix_nas.arch import DEFAULTS, Arch, Mixer
from acmix_nas.errors import ArchError, SpaceError
from acmix_nas.experiments.ablation.carry import own_arch
from acmix_nas.space import Space, Value
from acmix_nas.space.document import Node
from acmix_nas.space.load import FIELDS

BASE = "base"
"""The row that changes nothing."""
MOST_ROWS = 1000
PLAIN = "plain host"
"""The first network of a space whose blocks are the host's own."""

CONV_ON = "conv_on"
_PLACE = re.compile(r"(?:stages\.(\d+)\.(?:blocks\.(\d+)\.)?)?(\w+)")


class Place(NamedTuple):
    """A field of every block, of a stage's blocks, or of one block."""

    field: str
    stage: int | None = None
    block: int | None = None


Changes: TypeAlias = Mapping[Place, Value]
"""What a row changes; of two places that cover a block the narrower one counts."""
Axis: TypeAlias = Mapping[str, Changes]
"""Name of an option -> what it changes."""


def read_rows(top: Mapping[str, Node], space: Space, base: Arch) -> dict[str, Arch]:
    """All rows of a file, by name; two may be the same network.

    Args:
        top: Fields of the file; `rows` or `axes` is among them.
        space: The space, with the depths of the base.
        base: The network that rows change.

    Raises:
        SpaceError: A row cannot be made; the message names file, line and field.
    """
    rows: dict[str, Arch] = {}
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


def _written(node: Node, space: Space, base: Arch) -> dict[str, Arch]:
    if node.value == "neighbours":
        return dict(_neighbours(node, space, base))
    if node.value == "placement":
        return dict(_placements(node, space, base))
    return {
        name: _changed(item, space, base, _read_changes(item, space.depths)) for name, item in node.mapping().items()
    }


def _made(node: Node, combine: Node | None, space: Space, base: Arch) -> dict[str, Arch]:
    axes = list(_axes(node, space))
    how = combine.text(["grid", "one-at-a-time"]) if combine else "grid"
    if how == "grid":
        if (count := prod(map(len, axes))) > MOST_ROWS:
            raise node.error(
                f"a table has at most {MOST_ROWS} rows; these are {count}. Take fewer options, or one-at-a-time."
            )
        rows: dict[str, Arch] = {}
        for options in product(*(axis.items() for axis in axes)):
            changes = {place: value for _, part in options for place, value in part.items()}
            rows[", ".join(name for name, _ in options)] = _changed(node, space, base, changes)
        return rows
    alone = ((name, _changed(node, space, base, changes)) for axis in axes for name, changes in axis.items())
    return {BASE: base, **{name: arch for name, arch in alone if arch != base}}


def _axes(node: Node, space: Space) -> Iterator[Axis]:
    axes = node.mapping()
    for name, item in axes.items():
        if isinstance(item.value, dict):
            yield {label: _read_changes(option, space.depths) for label, option in item.value.items()}
            continue
        stages = range(len(space.depths)) if name.startswith("stages.*.") else ("*",)
        for path in (name.replace("*", str(stage), 1) for stage in stages):
            fields = (_read_field(path, option, space.depths) for option in item.items())
            alone = len(axes) == 1 and path == name and "." not in name
            yield {
                value if alone and isinstance(value, str) else f"{path} {value}": {place: value}
                for place, value in fields
            }


def _read_changes(node: Node, depths: tuple[int, ...]) -> Changes:
    """The changes that a mapping of FIELD, stages.S.FIELD or stages.S.blocks.B.FIELD to values describes."""
    return dict(_read_field(name, item, depths) for name, item in node.mapping().items())


def _read_field(name: str, node: Node, depths: tuple[int, ...]) -> tuple[Place, Value]:
    """One such change."""
    match = _PLACE.fullmatch(name)
    fields = (*FIELDS, CONV_ON)
    if match is None or match[3] not in fields or (match[1] and match[3] == CONV_ON):
        raise node.error(
            f"{name!r} is no field; there are {', '.join(fields)}, and stages.S.FIELD or stages.S.blocks.B.FIELD with "
            "stages and blocks from 0."
        )
    stage, block = (None if part is None else int(part) for part in match.groups()[:2])
    if stage is not None and stage >= len(depths):
        raise node.error(f"{name!r}: the network has {len(depths)} stages, counted from 0 to {len(depths) - 1}.")
    if stage is not None and block is not None and block >= depths[stage]:
        raise node.error(f"{name!r}: stage {stage} has {depths[stage]} blocks, counted from 0 to {depths[stage] - 1}.")
    return Place(match[3], stage, block), node.scalar()


def _changed(node: Node, space: Space, base: Arch, changes: Changes) -> Arch:
    """The base with these changes; what thereby becomes needed is that of the space's own network."""
    own, conv_on = own_arch(space, base.depths), changes.get(Place(CONV_ON), base.conv_on or space.conv_on)
    try:
        stages = [
            [
                _mixer(mixer, own.stages[s][b], dict(_fields(changes, s, b)), space.widths[s])
                for b, mixer in enumerate(stage)
            ]
            for s, stage in enumerate(base.stages)
        ]
        return Arch.canonical(host=base.host, stages=stages, conv_on=None if conv_on is None else str(conv_on))
    except (ArchError, TypeError) as error:
        raise node.error(str(error)) from error


def _fields(changes: Changes, stage: int, block: int) -> Iterator[tuple[str, Value]]:
    """The fields of one block, the narrower place last."""
    for place, value in sorted(
        changes.items(), key=lambda item: (item[0].stage is not None, item[0].block is not None)
    ):
        if place.field != CONV_ON and place.stage in (None, stage) and place.block in (None, block):
            yield place.field, value


def _mixer(mixer: Mixer, own: Mixer, fields: dict[str, Value], width: int) -> Mixer:
    if not fields:
        return mixer
    if "head_dim" in fields:
        head_dim = fields.pop("head_dim")
        if type(head_dim) is not int or head_dim < 1 or width % head_dim:
            raise ArchError(f"head_dim {head_dim} does not divide the {width} channels of a stage; choose a divisor.")
        fields["num_heads"] = width // head_dim
    return Mixer.canonical(**{**DEFAULTS, **own.to_dict(), **mixer.to_dict(), **fields})


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
