"""`Part`: what a named piece of a network costs. Operators and hosts count in parts; `acmix_nas.cost` adds them up."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

OPS = ("projections", "attention", "convolution", "mlp", "other")
"""What a part is for: ACmix's stage I; the attention path with its biases, reduction and proj; the convolution path, or
the dense convolution of operator `conv`; the MLP, or the 1x1 convolutions around the mixer of a residual block; stem,
norms, positions, downsampling, head, and the weights of the paths."""


class Part(NamedTuple):
    """What a module costs for one image.

    Attributes:
        module: Dotted path of the module, or of the parameter, in the built network.
        stage: Number of the stage that it stands in, from 0; None before the first stage and after the last one. Of a
            dense network's head "neck", "head" or "auxiliary head".
        op: What it is for, one of `OPS`.
        params: Trainable numbers.
        macs: Multiply-adds of the named formulation, literally.
        macs_deploy: Multiply-adds of the cheapest exact form.
        unseen_macs: Those of `macs` that the formulation writes as elementwise products and sums, which counters of
            convolutions and matrix products do not see.
        activations: Output elements of convolutions, linear layers and matrix products in the formulation.
    """

    module: str
    stage: int | str | None
    op: str
    params: int = 0
    macs: int = 0
    macs_deploy: int = 0
    unseen_macs: int = 0
    activations: int = 0


class Total(NamedTuple):
    """Sums of the numbers of some parts; `Part` explains each."""

    params: int
    macs: int
    macs_deploy: int
    unseen_macs: int
    activations: int


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Parts that are counted once and stand in a network in one or several places, their modules named from there.

    Attributes:
        parts: The parts; their `stage` is None.
        total: Their sum.
    """

    parts: tuple[Part, ...]
    total: Total = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", total(self.parts))


class Placed(NamedTuple):
    """A counted block in its place.

    Attributes:
        module: Dotted path that the names of its parts are below; "" for the network itself.
        stage: Number of its stage; None before the first stage and after the last one.
        counted: The block.
    """

    module: str
    stage: int | None
    counted: Counted

    def parts(self) -> tuple[Part, ...]:
        """Its parts, named as in the network."""
        return tuple(part._replace(stage=self.stage) for part in below(self.module, self.counted.parts))


@cache
def placed(module: str, stage: int | None, *parts: Part) -> Placed:
    """Parts that stand in one place alone; remembered, for networks are counted by the thousand."""
    return Placed(module, stage, Counted(parts))


def total(parts: Iterable[Part]) -> Total:
    """The sum of some parts."""
    sums = [0] * len(Total._fields)
    for part in parts:
        for index, number in enumerate(part[3:]):
            sums[index] += number
    return Total(*sums)


def below(module: str, parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts with this module's path before their own."""
    return tuple(part._replace(module=".".join(filter(None, (module, part.module)))) for part in parts)


def linear(module: str, inputs: int, outputs: int, pixels: int = 1, *, bias: bool = True, op: str = "other") -> Part:
    """A linear layer applied at each of a number of pixels, or a convolution as the linear layer of its window."""
    macs = inputs * outputs * pixels
    return Part(module, None, op, inputs * outputs + bias * outputs, macs, macs, 0, outputs * pixels)


def norm(module: str, channels: int) -> Part:
    """A normalisation with weight and bias; norms have no multiply-adds here."""
    return Part(module, None, "other", 2 * channels)


def area(size: tuple[int, int], stride: int = 1) -> int:
    """Number of pixels of a map (height, width) at stride."""
    return -(-size[0] // stride) * -(-size[1] // stride)
