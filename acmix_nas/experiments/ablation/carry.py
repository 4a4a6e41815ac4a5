"""The mixers of one host on another, stage by stage, and what could not go along."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import gcd

from acmix_nas.arch import DEFAULTS, MAP_WIDE_ATTENTION, Arch, Mixer
from acmix_nas.space import Space

PAPER = "paper"


def own_arch(space: Space, depths: tuple[int, ...] | None = None) -> Arch:
    """The space's own network: its first one named "paper", else the first of all."""
    space = space if depths is None else replace(space, depths=depths)
    return space.build(space.first.get(PAPER) or next(space.completions({})))


def carry(base: Arch, space: Space, widths: Sequence[int] = ()) -> tuple[Arch, tuple[str, ...]]:
    """A network with the mixers of another host.

    Stages are matched from the last one, where the maps of all hosts have the same extent. Rule, kernels and
    implementation go along; attention becomes that of the host, with the extent of its window where it has one; heads
    keep their depth, else their number, where that divides the channels.

    Args:
        base: The network whose mixers are carried.
        space: A space of the other host.
        widths: Channels of the stages of the base; unknown if empty.

    Returns:
        The network, and a sentence for everything that could not be carried.
    """
    own = own_arch(space)
    offset = len(own.stages) - len(base.stages)
    lost = [(f"stage {stage + 1}", f"{space.host} has no counterpart of it") for stage in range(-offset)]
    stages: list[tuple[Mixer, ...]] = []
    for index, mixers in enumerate(own.stages):
        if index < offset:
            lost.append((f"stage {index + 1}", f"{base.host} has no counterpart of it, so its own mixers are used"))
            stages.append(mixers)
            continue
        bearer = _Bearer(space=space, stage=index, width=widths[index - offset] if widths else None)
        stages.append(bearer.carry_all(base.stages[index - offset], mixers))
        lost += [(f"stage {index + 1}", what) for what in bearer.lost]
    if base.conv_on is not None and own.conv_on is None:
        lost.append(("", f"conv_on {base.conv_on}: {space.host} does not roll maps"))
    conv_on = base.conv_on or space.conv_on
    return Arch.canonical(host=space.host, stages=stages, conv_on=conv_on), _sentences(lost)


@dataclass(slots=True, kw_only=True)
class _Bearer:
    """Carries the mixers of one stage and keeps what is lost, each once."""

    space: Space
    stage: int
    width: int | None
    lost: list[str] = field(default_factory=list)

    def lose(self, what: str) -> None:
        if what not in self.lost:
            self.lost.append(what)

    def carry_all(self, source: tuple[Mixer, ...], own: tuple[Mixer, ...]) -> tuple[Mixer, ...]:
        """A stage's mixers, spread over the blocks there are."""
        if len(set(source)) > 1 and len(source) != len(own):
            self.lose(f"{len(source)} different blocks became {len(own)}")
        return tuple(self.carry(mixer, mine) for mixer, mine in zip(_spread(source, len(own)), own, strict=True))

    def carry(self, mixer: Mixer, own: Mixer) -> Mixer:
        if mixer.operator not in self._options("operator", "acmix"):
            self.lose(f"operator {mixer.operator} is none of {self.space.host}'s; its own mixer is used")
            return own
        if mixer.operator != "acmix":
            return Mixer(operator=mixer.operator)
        fields = {**DEFAULTS, **self._paths(), **own.to_dict(), **mixer.to_dict(), "operator": "acmix"}
        fields |= self._attention(mixer) if mixer.attends else {}
        fields["num_heads"] = self._heads(mixer, own)
        return Mixer.canonical(**fields)

    def _paths(self) -> dict[str, object]:
        """What the space fixes for the stage, or its first option."""
        names = ("attention", "attn_kernel", "num_heads")
        return {name: options[0] for name in names if (options := self._options(name))}

    def _attention(self, mixer: Mixer) -> dict[str, object]:
        modes = self._options("attention")
        if not modes or mixer.attention in modes:
            return {}
        mode = str(modes[0])
        self.lose(f"attention {mixer.attention} became {mode}")
        if mode in MAP_WIDE_ATTENTION:
            if mixer.attn_kernel is not None:
                self.lose(f"attn_kernel {mixer.attn_kernel}: {mode} attention sees the whole map")
            return {"attention": mode, "attn_kernel": None}
        extent = mixer.attn_kernel
        if extent is not None and (mode == "window" or extent % 2):
            return {"attention": mode, "attn_kernel": extent}
        own = max((option for option in self._options("attn_kernel") if isinstance(option, int)), default=7)
        self.lose(f"attn_kernel {'of the whole map' if extent is None else extent} became {own}")
        return {"attention": mode, "attn_kernel": own}

    def _heads(self, mixer: Mixer, own: Mixer) -> int | None:
        fixed = self.space.fixed[self.stage].get("num_heads")
        wanted = mixer.num_heads
        if fixed is not None:
            if wanted not in (None, fixed):
                self.lose(f"num_heads {wanted} became {fixed}, which {self.space.name} fixes")
            return int(fixed)
        if wanted is None:
            return own.num_heads or int(DEFAULTS["num_heads"])
        channels = self.space.widths[self.stage]
        places = [channels, *(proxy.widths(self.space.widths)[self.stage] for proxy in self.space.proxies.values())]
        depth = self.width // wanted if self.width else 0
        for heads in (channels // depth if depth and channels % depth == 0 else 0, wanted):
            if heads and gcd(*places) % heads == 0:
                return heads
        self.lose(
            f"num_heads {wanted} became {own.num_heads}: it does not divide {', '.join(map(str, places))} channels"
        )
        return own.num_heads

    def _options(self, name: str, *otherwise: str) -> tuple[object, ...]:
        """What the space lets a field be in this stage."""
        fixed = self.space.fixed[self.stage]
        if name in fixed:
            return (fixed[name],)
        chosen = [choice.options for choice in self.space.choices if (choice.stage, choice.field) == (self.stage, name)]
        return chosen[0] if chosen else otherwise


def _sentences(lost: list[tuple[str, str]]) -> tuple[str, ...]:
    """One sentence for each thing, with all places it happened at."""
    places: dict[str, list[str]] = {}
    for place, what in lost:
        places.setdefault(what, []).append(place)
    return tuple(": ".join(part for part in (", ".join(where), what) if part) for what, where in places.items())


def _spread(stage: tuple[Mixer, ...], depth: int) -> list[Mixer]:
    """A stage's blocks spread evenly over another depth."""
    return [stage[round(index * (len(stage) - 1) / max(1, depth - 1))] for index in range(depth)]
