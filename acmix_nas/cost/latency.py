"""Latency of any network of a space as a sum over its blocks, from a table that was measured once."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import CostError
from acmix_nas.fields import COUNT, MAPPING, NUMBER, TEXT, Origin, list_of, maybe, number, shown, whole
from acmix_nas.files import write_text

FORMAT = 1
FIX = "So it is no latency table; acmix latency --space SPACE --out FILE makes one."
MACHINE = ("device_name", "threads", "torch", "cuda")
"""What of the environment a latency depends on; a table from elsewhere is another machine's."""

Block = tuple[int, int, Mixer]
"""(stage, block, mixer), both numbers from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How well a table predicts networks that it was not built from.

    Attributes:
        measured_ms: Latency of each network, measured whole.
        told_ms: What the table says.
        spearman: Rank correlation of the two.
        median_error: Median of |predicted - measured| / measured.
        worst_error: The largest of them.
    """

    measured_ms: tuple[float, ...]
    told_ms: tuple[float, ...]
    spearman: float
    median_error: float
    worst_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """Latency = `rest_ms` + the sum of its blocks' mixers, each measured in its place inside a network.

    Attributes:
        space: Name of the space.
        host: Host family.
        env: What it was measured on (`acmix_nas.cost.environment`).
        how: How networks were run (`acmix_nas.cost.execution.Execution`).
        batch_size: Images in the batch.
        input_size: (height, width) of the images in pixels.
        rest_ms: Milliseconds of everything but mixers, which all networks of the space share.
        mixers_ms: Milliseconds of every mixer in every block.
        check: Networks held out, measured whole against the sum.
    """

    space: str
    host: str
    env: Mapping[str, Any]
    how: Mapping[str, Any]
    batch_size: int
    input_size: tuple[int, int]
    rest_ms: float
    mixers_ms: Mapping[Block, float] = field(repr=False)
    check: Check | None = None

    def latency_ms(self, arch: Arch) -> float:
        """Milliseconds of a batch.

        Raises:
            CostError: The network has another host, or a block that the table does not know.
        """
        if arch.host != self.host:
            raise CostError(
                f"the latency table is one of {self.space}, whose networks are {self.host}; {arch.id} is {arch.host}. "
                "Build a table for its own space."
            )
        for stage, block, mixer in blocks_of(arch):
            if (stage, block, mixer) not in self.mixers_ms:
                raise CostError(
                    f"the latency table of {self.space} has no block {block} of stage {stage} with {mixer.to_dict()}. "
                    "Build a table for a space that holds it."
                )
        return self.rest_ms + sum(self.mixers_ms[block] for block in blocks_of(arch))

    def differences(self, env: Mapping[str, Any]) -> list[str]:
        """What makes it another machine's table, one phrase for each difference."""
        return [
            f"{name} {self.env.get(name)} there, {env.get(name)} here"
            for name in MACHINE
            if self.env.get(name) != env.get(name)
        ]

    def save(self, path: Path) -> None:
        """Writes it as JSON, in one step."""
        blocks = [
            {"stage": stage, "block": block, "mixer": mixer.to_dict(), "latency_ms": time_ms}
            for (stage, block, mixer), time_ms in self.mixers_ms.items()
        ]
        values = {
            "format": FORMAT,
            **{name: getattr(self, name) for name in _PLAIN},
            "check": self.check and asdict(self.check),
            "blocks": blocks,
        }
        write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a table.

        Raises:
            CostError: The file cannot be read or is no such table.
        """
        origin = Origin(Path(path), CostError, FIX)
        values = origin.read()
        if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            raise CostError(
                f"{path} has format {shown(values['format'])}; this version reads {FORMAT}. Build it again."
            )
        known = origin.fields(values, FIELDS)
        check = None if known["check"] is None else origin.fields(known["check"], CHECK, path="check")
        return cls(
            **{name: known[name] for name in _PLAIN} | {"input_size": tuple(known["input_size"])},
            check=None if check is None else Check(**{name: _tupled(value) for name, value in check.items()}),
            mixers_ms=dict(_block(origin, number, row) for number, row in enumerate(known["blocks"])),
        )


_PLAIN = ("space", "host", "env", "how", "batch_size", "input_size", "rest_ms")
FIELDS = {
    "format": whole(FORMAT, FORMAT),
    **dict.fromkeys(("space", "host"), TEXT),
    **dict.fromkeys(("env", "how"), MAPPING),
    "batch_size": whole(1),
    "input_size": list_of(whole(1), 2, 2),
    "rest_ms": NUMBER,  # what is left of a whole network, so noise may bring it below 0
    "check": maybe(MAPPING),
    "blocks": list_of(MAPPING, 1),
}
CHECK = {
    **dict.fromkeys(("measured_ms", "told_ms"), list_of(NUMBER)),
    "spearman": NUMBER,
    **dict.fromkeys(("median_error", "worst_error"), number(0)),
}
BLOCK = {"stage": COUNT, "block": COUNT, "mixer": MAPPING, "latency_ms": NUMBER}


def blocks_of(arch: Arch) -> list[Block]:
    """The blocks of a network, first to last."""
    return [(s, b, mixer) for s, stage in enumerate(arch.stages) for b, mixer in enumerate(stage)]


def _block(origin: Origin, number: int, row: object) -> tuple[Block, float]:
    path = f"blocks[{number}]"
    known = origin.fields(row, BLOCK, path=path)
    with origin.at(f"{path}.mixer"):
        mixer = Mixer.from_dict(known["mixer"])
    return (known["stage"], known["block"], mixer), known["latency_ms"]


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
