"""A network with some fields of its blocks changed."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from acmix_nas.arch import DEFAULTS, Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.experiments.ablation.carry import own_arch
from acmix_nas.space import Space, Value
from acmix_nas.space.document import Node
from acmix_nas.space.load import FIELDS

CONV_ON = "conv_on"
_PLACE = re.compile(r"(?:stages\.(\d+)\.(?:blocks\.(\d+)\.)?)?(\w+)")


class Place(NamedTuple):
    """A field of every block, of a stage's blocks, or of one block."""

    field: str
    stage: int | None = None
    block: int | None = None


Changes: TypeAlias = Mapping[Place, Value]
"""What a row changes; of two places that cover a block the narrower one counts."""


def read_changes(node: Node, depths: tuple[int, ...]) -> Changes:
    """The changes that a mapping of FIELD, stages.S.FIELD or stages.S.blocks.B.FIELD to values describes."""
    return dict(read_field(name, item, depths) for name, item in node.mapping().items())


def read_field(name: str, node: Node, depths: tuple[int, ...]) -> tuple[Place, Value]:
    """One such change.

    Raises:
        SpaceError: There is no such field, stage or block.
    """
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


def change(base: Arch, changes: Changes, space: Space) -> Arch:
    """The base with these changes; what thereby becomes needed is that of the space's own network.

    Raises:
        ArchError: A value builds no network.
    """
    own = own_arch(space, base.depths)
    stages = [
        [
            _changed(mixer, own.stages[s][b], dict(_fields(changes, s, b)), space.widths[s])
            for b, mixer in enumerate(stage)
        ]
        for s, stage in enumerate(base.stages)
    ]
    conv_on = changes.get(Place(CONV_ON), base.conv_on or space.conv_on)
    return Arch.canonical(host=base.host, stages=stages, conv_on=None if conv_on is None else str(conv_on))


def _fields(changes: Changes, stage: int, block: int) -> Iterator[tuple[str, Value]]:
    """The fields of one block, the narrower place last."""
    for place, value in sorted(
        changes.items(), key=lambda item: (item[0].stage is not None, item[0].block is not None)
    ):
        if place.field != CONV_ON and place.stage in (None, stage) and place.block in (None, block):
            yield place.field, value


def _changed(mixer: Mixer, own: Mixer, fields: dict[str, Value], width: int) -> Mixer:
    if not fields:
        return mixer
    if "head_dim" in fields:
        head_dim = fields.pop("head_dim")
        if type(head_dim) is not int or head_dim < 1 or width % head_dim:
            raise ArchError(f"head_dim {head_dim} does not divide the {width} channels of a stage; choose a divisor.")
        fields["num_heads"] = width // head_dim
    return Mixer.canonical(**{**DEFAULTS, **own.to_dict(), **mixer.to_dict(), **fields})
