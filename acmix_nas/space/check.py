"""Whether the options of every choice still build different functions in a proxy."""

from collections.abc import Iterator
from dataclasses import dataclass

from acmix_nas.arch import ROLLING_HOSTS
from acmix_nas.sizes import Size, pair, size_text
from acmix_nas.space.document import Node
from acmix_nas.space.proxy import Proxy, effective
from acmix_nas.space.space import Choice, Space, Value


@dataclass(frozen=True, slots=True)
class Distinction:
    """What is left of a choice in a proxy.

    Attributes:
        choice: The choice.
        map: Size of its stage's map in pixels.
        groups: Its options, those that build the same function together.
    """

    choice: Choice
    map: Size
    groups: tuple[tuple[Value, ...], ...]

    @property
    def inert(self) -> bool:
        """Whether two options build the same function."""
        return len(self.groups) < len(self.choice.options)


def distinctions(space: Space, proxy: Proxy) -> Iterator[Distinction]:
    """For every choice, which of its options the proxy can tell apart."""
    for choice in space.choices:
        size = proxy.maps()[choice.stage]
        groups: dict[Value, list[Value]] = {}
        for option in choice.options:
            seen = effective(choice.field, option, size, space.fixed[choice.stage].get("attention"))
            groups.setdefault(seen, []).append(option)
        yield Distinction(choice, size, tuple(tuple(group) for group in groups.values()))


def check_proxy(space: Space, proxy: Proxy, node: Node) -> None:
    """Refuses a proxy that cannot tell what it is asked.

    Raises:
        SpaceError: Options build the same function and `inert: allow` is not said, a stage has more blocks
            than the full network's, or a Swin stage has one block, so that no window is ever shifted.
    """
    depths = node.mapping()["depths"]
    for stage, (depth, full) in enumerate(zip(proxy.depths, space.depths, strict=True)):
        if depth > full:
            raise depths.error(f"stage {stage} has {depth} blocks, more than the {full} of the full network.")
        if space.host in ROLLING_HOSTS and depth < 2:
            raise depths.error(f"stage {stage} has one block, so no window is ever shifted; give it two.")
    if proxy.inert == "allow":
        return
    for found in distinctions(space, proxy):
        if found.inert:
            same = next(group for group in found.groups if len(group) > 1)
            raise node.error(
                f"{found.choice.name} {', '.join(map(str, same))} build the same function on the "
                f"{size_text(pair(found.map))} map of stage {found.choice.stage}; enlarge input_size, or say "
                "`inert: allow`."
            )
