"""`Arch`: the only description of a network. One network has one description, so `==` and `id` agree."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from types import NoneType
from typing import Any, Self

from acmix_nas import registry
from acmix_nas.errors import ArchError

COMBINE = ("att", "conv", "sum", "half", "beta", "convex", "learned", "channel", "gated")
CONV_IMPL = ("shift", "groupconv", "learnable", "full")
CONV_INIT = ("shift", "kaiming")
CONV_ON = ("rolled", "image")

FROZEN_IMPL = ("shift", "groupconv")
"""Implementations without trainable kernels: `conv_init` has no effect on them."""
MAP_WIDE_ATTENTION = registry.names("operators.attention", "MAP_WIDE")
"""Attention modes that always see the whole map: `attn_kernel` has no effect on them."""
HEADLESS_ATTENTION = registry.names("operators.attention", "HEADLESS")
"""Attention modes that share weights over fixed groups of channels: only a convolution path reads `num_heads`."""
ROLLING_HOSTS = registry.names("hosts", "ROLLS")
"""Hosts that roll the map in every second block: `conv_on` says which map the convolution path sees."""
DEFAULTS: Mapping[str, Any] = {"num_heads": 4, "conv_kernel": 3, "conv_impl": "full", "conv_init": "shift"}
"""What a block without a convolution path takes when it is given one, unless somebody says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixer:
    """What mixes the pixels of one block. A field that has no effect is None.

    Attributes:
        operator: "acmix", or "conv" for the host's own dense 3x3 convolution (all other fields None).
        attention: Attention mode; None where `combine` is "conv".
        attn_kernel: Extent of the attention window in pixels; None where `combine` is "conv" or the mode sees the
            whole map.
        conv_kernel: Odd extent of the convolution path; None where `combine` is "att".
        num_heads: Number of heads N; None where neither path has heads.
        conv_impl: Implementation of shift-and-sum; None where `combine` is "att".
        conv_init: "shift" or "kaiming" kernels at the start; None where the kernels are not trained.
        combine: Rule for alpha and beta in F = alpha * F_att + beta * F_conv.

    Raises:
        ArchError: A value is unknown, a needed one is missing, or one without effect is given.
    """

    operator: str = "acmix"
    attention: str | None = None
    attn_kernel: int | None = None
    conv_kernel: int | None = None
    num_heads: int | None = None
    conv_impl: str | None = None
    conv_init: str | None = None
    combine: str | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) not in (str, int, NoneType):
                raise ArchError(f"{name} is a word, a whole number or None; it is {value!r}.")
        _check_name("operator", self.operator, "operators")
        if self.operator == "acmix":
            check_option("combine", self.combine, COMBINE)
            if "num_heads" not in without_effect(asdict(self)):
                check_extent("num_heads", self.num_heads)
            self._check_attention()
            self._check_convolution()
        for name in without_effect(asdict(self)):
            if getattr(self, name) is not None:
                raise ArchError(
                    f"{name}={getattr(self, name)!r} has no effect with {self._rule()}; leave it None, or use "
                    "Mixer.canonical."
                )

    @classmethod
    def canonical(cls, **values: Any) -> Self:
        """The mixer with these values, those without effect dropped."""
        values = {"operator": "acmix", **values}
        return cls(**{**values, **dict.fromkeys(without_effect(values))})

    def having(self, **changes: Any) -> Self:
        """This mixer with some fields changed, those without effect dropped."""
        return self.canonical(**{**asdict(self), **changes})

    @property
    def attends(self) -> bool:
        """Whether the attention path is built."""
        return self.operator == "acmix" and self.combine != "conv"

    @property
    def convolves(self) -> bool:
        """Whether ACmix's convolution path is built."""
        return self.operator == "acmix" and self.combine != "att"

    def to_dict(self) -> dict[str, Any]:
        """The fields that have an effect."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**_known_fields(cls, values, "mixer"))

    def _check_attention(self) -> None:
        if not self.attends:
            return
        _check_name("attention", self.attention, "operators.attention")
        if self.attention not in MAP_WIDE_ATTENTION:
            check_extent("attn_kernel", self.attn_kernel, odd=self.attention != "window")

    def _check_convolution(self) -> None:
        if not self.convolves:
            return
        check_extent("conv_kernel", self.conv_kernel, odd=True)
        check_option("conv_impl", self.conv_impl, CONV_IMPL)
        if self.conv_impl not in FROZEN_IMPL:
            check_option("conv_init", self.conv_init, CONV_INIT)

    def _rule(self) -> str:
        return ", ".join(
            f"{name}={value!r}"
            for name, value in self.to_dict().items()
            if name in ("operator", "combine", "conv_impl", "attention")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """A network: a host with one `Mixer` for each block.

    Attributes:
        host: Name of the host family; its widths are the host's, its depths the lengths of `stages`.
        stages: One tuple of mixers for each stage.
        conv_on: "rolled" or "image": the map that the convolution path of a shifted Swin block sees.
            None unless such a block has a convolution path. A Swin stage shifts its second, fourth, ... block.

    Raises:
        ArchError: The host is unknown, a stage is empty, or `conv_on` is given or missing against that rule.
    """

    host: str
    stages: tuple[tuple[Mixer, ...], ...]
    conv_on: str | None = None

    def __post_init__(self) -> None:
        _check_name("host", self.host, "hosts")
        object.__setattr__(self, "stages", tuple(tuple(stage) for stage in self.stages))
        if not self.stages or not all(self.stages):
            raise ArchError(f"every stage needs a block; the depths are {self.depths}.")
        for mixer in self.mixers:
            if not isinstance(mixer, Mixer):
                raise ArchError(f"stages hold Mixer objects; {mixer!r} is a {type(mixer).__name__}.")
        if _convolves_when_rolled(self.host, self.stages):
            check_option("conv_on", self.conv_on, CONV_ON)
        elif self.conv_on is not None:
            raise ArchError(
                f"conv_on={self.conv_on!r} has no effect: no shifted block has a convolution path; leave it None, or "
                "use Arch.canonical."
            )

    @classmethod
    def canonical(cls, *, host: str, stages: Iterable[Iterable[Mixer]], conv_on: str | None = None) -> Self:
        """The network with these values, `conv_on` dropped where it has no effect."""
        blocks = tuple(tuple(stage) for stage in stages)
        return cls(host=host, stages=blocks, conv_on=conv_on if _convolves_when_rolled(host, blocks) else None)

    def having(self, change: Callable[[Mixer], Mixer]) -> Self:
        """This network with every mixer changed."""
        stages = [[change(mixer) for mixer in stage] for stage in self.stages]
        return self.canonical(host=self.host, stages=stages, conv_on=self.conv_on)

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks in each stage."""
        return tuple(len(stage) for stage in self.stages)

    @property
    def mixers(self) -> tuple[Mixer, ...]:
        """The mixers of all blocks, first to last."""
        return tuple(mixer for stage in self.stages for mixer in stage)

    @property
    def named(self) -> tuple[str, ...]:
        """Names of the host, the operators and the attention modes: what is imported to build it."""
        names = (name for mixer in self.mixers for name in (mixer.operator, mixer.attention) if name is not None)
        return tuple(dict.fromkeys((self.host, *names)))

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and numbers; fields without effect are left out."""
        values: dict[str, Any] = {
            "host": self.host,
            "stages": [[mixer.to_dict() for mixer in stage] for stage in self.stages],
        }
        return values if self.conv_on is None else {**values, "conv_on": self.conv_on}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ArchError: A key is unknown or missing, or a value is wrong.
        """
        known = _known_fields(cls, values, "arch")
        if not isinstance(known.get("host"), str) or not isinstance(known.get("stages"), list | tuple):
            raise ArchError("an arch needs `host`, a name, and `stages`, a list of lists of mixers.")
        try:
            stages = tuple(tuple(Mixer.from_dict(mixer) for mixer in stage) for stage in known["stages"])
        except TypeError as error:
            raise ArchError(f"`stages` is a list of lists of mixers: {error}.") from error
        return cls(host=known["host"], stages=stages, conv_on=known.get("conv_on"))


def without_effect(values: Mapping[str, Any]) -> list[str]:
    """Names of the `Mixer` fields that change nothing, given the values of others."""
    paths = {"attention", "attn_kernel", "conv_kernel", "num_heads", "conv_impl", "conv_init", "combine"}
    if values.get("operator") == "conv":
        return sorted(paths)
    inert: set[str] = set()
    if values.get("combine") == "att":
        inert |= {"conv_kernel", "conv_impl", "conv_init"}
    if values.get("combine") == "conv":
        inert |= {"attention", "attn_kernel"}
    if values.get("attention") in HEADLESS_ATTENTION and values.get("combine") == "att":
        inert.add("num_heads")
    if values.get("attention") in MAP_WIDE_ATTENTION:
        inert.add("attn_kernel")
    if values.get("conv_impl") in FROZEN_IMPL:
        inert.add("conv_init")
    return sorted(inert)


def _convolves_when_rolled(host: str, stages: tuple[tuple[Mixer, ...], ...]) -> bool:
    return host in ROLLING_HOSTS and any(mixer.convolves for stage in stages for mixer in stage[1::2])


def _check_name(field: str, value: object, folder: str) -> None:
    if not isinstance(value, str) or not registry.known(folder, value):
        have = ", ".join(registry.names(folder))
        raise ArchError(f"{field} is one of {have}, or a dotted path of your own; {value!r} is neither.")


def check_option(field: str, value: object, options: tuple[str, ...]) -> None:
    """Raises an `ArchError` unless the value is one of the options."""
    if value not in options:
        raise ArchError(f"{field} is one of {', '.join(options)}; it is {value!r}.")


def check_extent(field: str, value: object, *, odd: bool = False) -> None:
    """Raises an `ArchError` unless the value is a whole number from 1 up."""
    kind = "an odd whole number" if odd else "a whole number"
    if type(value) is not int or value < 1 or (odd and value % 2 == 0):
        raise ArchError(f"{field} is {kind} from 1 up; it is {value!r}.")


def _known_fields(cls: type, values: Mapping[str, Any], what: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ArchError(f"{what} is a mapping of fields to values; it is {values!r}.")
    have = [field.name for field in fields(cls)]
    unknown = [str(name) for name in values if name not in have]
    if unknown:
        raise ArchError(f"{what} has no field {', '.join(unknown)}; it has {', '.join(have)}.")
    return dict(values)
