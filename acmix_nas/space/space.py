"""`Choice` and `Space`: what may vary, and the network that each set of values builds."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import prod
from typing import Any, TypeAlias

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import ArchError, SpaceError
from acmix_nas.sizes import Size
from acmix_nas.space.proxy import Proxy

Value: TypeAlias = str | int
Values: TypeAlias = dict[str, Value]
"""The value of every active choice, by the choice's name, in the order of `Space.choices`."""

_NAME = re.compile(r"stages\.(\d+)\.(?:blocks\.(\d+)\.)?(\w+)")


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that varies over a space.

    Attributes:
        name: "stages.2.combine" (tied over a stage) or "stages.2.blocks.5.combine".
        options: What it may be.
        ordered: Whether near options are alike, as with kernel sizes.
        when: Active only while each of these choices has one of these values.
    """

    name: str
    options: tuple[Value, ...]
    ordered: bool = False
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SpaceError(f"a choice is named stages.S.FIELD or stages.S.blocks.B.FIELD, not {self.name!r}.")
        if not self.options or len(set(self.options)) < len(self.options):
            raise SpaceError(f"{self.name} needs options, each once; it has {list(self.options)}.")

    @property
    def stage(self) -> int:
        """The stage it belongs to, from 0."""
        return int(_parts(self.name)[0])

    @property
    def block(self) -> int | None:
        """The block of that stage, or None if it is tied over the stage."""
        block = _parts(self.name)[1]
        return None if block is None else int(block)

    @property
    def field(self) -> str:
        """The mixer field it sets; `head_dim` sets num_heads through the stage's width."""
        return str(_parts(self.name)[2])

    def active(self, values: Mapping[str, Value]) -> bool:
        """Whether it plays a part, given the values of the choices before it."""
        return all(name in values and values[name] in allowed for name, allowed in self.when.items())

    def covers(self, stage: int, block: int) -> bool:
        """Whether it sets the field of this block."""
        return stage == self.stage and self.block in (None, block)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A set of networks over one host.

    Attributes:
        name: The file's name.
        host: Host family.
        widths: Channels of each stage at full size.
        depths: Blocks of each stage at full size.
        input_size: Height and width in pixels that costs are counted at, one number for squares.
        patch_size: Downsampling before the first stage at full size.
        fixed: For each stage, the mixer fields that do not vary.
        conv_on: Map that the convolution path of shifted Swin blocks sees.
        choices: What varies; a choice comes after those its `when` names.
        first: Label -> values of the networks that a search trains first.
        proxies: Name -> proxy.
        cost: The objective beside accuracy.
        summary: One line on what it is.
        task: What its networks learn where nothing else is said; None for classification.
        head: The head of that task.
    """

    name: str
    host: str
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    input_size: Size
    patch_size: int
    fixed: tuple[Mapping[str, Value], ...]
    choices: tuple[Choice, ...]
    conv_on: str | None = None
    first: Mapping[str, Values] = field(default_factory=dict)
    proxies: Mapping[str, Proxy] = field(default_factory=dict)
    cost: str = "macs"
    summary: str = ""
    task: str | None = None
    head: str | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """Words that its networks may have, names of host, operators and attention modes among them."""
        fixed = (value for fields in self.fixed for value in fields.values())
        options = (option for choice in self.choices for option in choice.options)
        words = (value for value in (*fixed, *options) if isinstance(value, str))
        return tuple(dict.fromkeys((self.host, *words)))

    def sample(self, choose: Callable[[Choice], Value]) -> Values:
        """Values for all active choices, each asked of `choose` in turn."""
        values: Values = {}
        for choice in self.choices:
            if choice.active(values):
                value = choose(choice)
                if value not in choice.options:
                    known = ", ".join(map(str, choice.options))
                    raise SpaceError(f"{choice.name} is one of {known}; it is {value!r}.")
                values[choice.name] = value
        return values

    def build(self, values: Mapping[str, Value]) -> Arch:
        """The network that these values describe.

        Raises:
            SpaceError: An active choice has no value, a value is not among its options, or an inactive choice has one.
        """
        known = self.sample(lambda choice: _given(values, choice))
        extra = sorted(set(values) - set(known))
        if extra:
            raise SpaceError(f"{', '.join(extra)}: unknown or without effect beside the other values; leave it out.")
        tied = dict.fromkeys(range(len(self.depths)), True)
        tied |= {choice.stage: False for choice in self.choices if choice.block is not None}
        stages = (
            (self._mixer(known, stage, 0),) * depth
            if tied[stage]
            else tuple(self._mixer(known, stage, block) for block in range(depth))
            for stage, depth in enumerate(self.depths)
        )
        return Arch.canonical(host=self.host, stages=stages, conv_on=self.conv_on)

    def values(self, arch: Arch) -> Values:
        """The values that build this network: the inverse of `build`.

        Raises:
            SpaceError: The network is not in the space.
        """
        if (arch.host, arch.depths) != (self.host, self.depths):
            raise SpaceError(
                f"{self.name} holds {self.host} networks of depths {self.depths}, not {arch.host} of {arch.depths}."
            )
        values = self.sample(lambda choice: self._read(arch, choice))
        if self.build(values) != arch:
            raise SpaceError(
                f"{arch.id} is not in {self.name}: it unties blocks, or changes a field, that the space holds together."
            )
        return values

    def mixers(self, stage: int, block: int) -> tuple[Mixer, ...]:
        """All mixers that a block may have, each once; the same order for all blocks that a choice ties."""
        own = [choice for choice in self.choices if choice.covers(stage, block)]
        known = {choice.name: choice for choice in self.choices}
        needed = {choice.name for choice in own}
        for choice in reversed(self.choices):
            if choice.name in needed:
                needed |= set(choice.when)
        part = replace(self, choices=tuple(known[name] for name in known if name in needed))
        return tuple(dict.fromkeys(self._mixer(values, stage, block) for values in part.completions({})))

    def neighbours(self, values: Mapping[str, Value]) -> Iterator[Values]:
        """All values one edit away: one choice changed, and what thereby became active in every way."""
        self.build(values)
        for choice in self.choices:
            if choice.name in values:
                for option in choice.options:
                    if option != values[choice.name]:
                        yield from self.completions({**values, choice.name: option})

    def completions(self, kept: Mapping[str, Value]) -> Iterator[Values]:
        """All values of the space that agree with `kept` on the choices which are active; all of it for {}."""
        return self._complete(kept, {}, 0)

    @property
    def size(self) -> int:
        """The number of distinct networks."""
        tested = {name for choice in self.choices for name in choice.when}
        return prod(_count(component, tested, {}) for component in self._components())

    def _complete(self, kept: Mapping[str, Value], done: Values, start: int) -> Iterator[Values]:
        for index in range(start, len(self.choices)):
            choice = self.choices[index]
            if not choice.active(done):
                continue
            if choice.name not in kept:
                for option in choice.options:
                    yield from self._complete(kept, {**done, choice.name: option}, index + 1)
                return
            done = {**done, choice.name: kept[choice.name]}
        yield done

    def _components(self) -> list[list[Choice]]:
        """The choices in groups that no `when` connects."""
        groups: list[list[Choice]] = []
        for choice in self.choices:
            linked = [group for group in groups if any(other.name in choice.when for other in group)]
            groups = [group for group in groups if group not in linked]
            groups.append([*(other for group in linked for other in group), choice])
        order = {choice.name: index for index, choice in enumerate(self.choices)}
        return [sorted(group, key=lambda choice: order[choice.name]) for group in groups]

    def _mixer(self, values: Values, stage: int, block: int) -> Mixer:
        fields = dict(self.fixed[stage])
        for name, field_name in _covering(tuple(choice.name for choice in self.choices), stage, block):
            if name in values:
                fields[field_name] = values[name]
        if "head_dim" in fields:
            fields["num_heads"] = self.widths[stage] // int(fields.pop("head_dim"))
        try:
            return _canonical(tuple(fields.items()))
        except ArchError as error:
            raise SpaceError(f"{self.name}, stage {stage}, block {block}: {error}") from error

    def _read(self, arch: Arch, choice: Choice) -> Value:
        mixer = arch.stages[choice.stage][choice.block or 0]
        if choice.field == "head_dim":
            return self.widths[choice.stage] // mixer.num_heads if mixer.num_heads else 0
        value: Value = getattr(mixer, choice.field)
        return value


@cache
def _parts(name: str) -> tuple[str | Any, ...]:
    match = _NAME.fullmatch(name)
    assert match
    return match.groups()


@cache
def _covering(names: tuple[str, ...], stage: int, block: int) -> tuple[tuple[str, str], ...]:
    """(name, field) of the choices that set a field of this block; a search asks for it thousands of times."""
    parts = ((name, *_parts(name)) for name in names)
    return tuple(
        (name, str(field_name))
        for name, at, of, field_name in parts
        if int(at) == stage and (of is None or int(of) == block)
    )


@cache
def _canonical(fields: tuple[tuple[str, Value], ...]) -> Mixer:
    """The mixer with these fields; blocks of a space are few kinds."""
    return Mixer.canonical(**dict(fields))


def _given(values: Mapping[str, Value], choice: Choice) -> Value:
    if choice.name not in values:
        raise SpaceError(f"{choice.name} has no value; it is one of {', '.join(map(str, choice.options))}.")
    return values[choice.name]


def _count(choices: list[Choice], tested: set[str], done: Values) -> int:
    """Distinct values of connected choices; only those that a `when` tests are walked through."""
    if not choices:
        return 1
    first, *rest = choices
    if not first.active(done):
        return _count(rest, tested, done)
    if first.name not in tested:
        return len(first.options) * _count(rest, tested, done)
    return sum(_count(rest, tested, {**done, first.name: option}) for option in first.options)
