"""YAML -> `Space`: every mistake is one error that names file, line and field."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from acmix_nas import plugins, registry
from acmix_nas.arch import COMBINE, CONV_IMPL, CONV_INIT, CONV_ON, ROLLING_HOSTS, without_effect
from acmix_nas.errors import SpaceError
from acmix_nas.files import find_space
from acmix_nas.sizes import Size, each_side, pair, size_text
from acmix_nas.space.document import Node, read
from acmix_nas.space.proxy import Proxy
from acmix_nas.space.space import Choice, Space, Value, Values

FIELDS = (
    "operator",
    "combine",
    "attention",
    "attn_kernel",
    "num_heads",
    "head_dim",
    "conv_kernel",
    "conv_impl",
    "conv_init",
)
"""Mixer fields in the order of choices: a field comes after those that decide whether it has an effect."""
WORDS = {"combine": COMBINE, "conv_impl": CONV_IMPL, "conv_init": CONV_INIT}
MAX_STAGES, MAX_DEPTH, MAX_OPTIONS, MAX_PIXELS = 8, 100, 5_000, 10_000
"""A space beyond these would not be read in a moment, and is a slip of the keyboard."""
COSTS = ("macs", "macs_deploy", "params")


def load_space(name_or_path: str | os.PathLike[str], *, per: str | None = None) -> Space:
    """The space of a YAML file.

    Args:
        name_or_path: A name in search_spaces, or the path of a file.
        per: "stage" ties the choices of a stage's blocks, "block" unties them; None takes the file's word.

    Raises:
        SpaceError: The file is wrong; the message names file, line and field.
        PluginError: It names a module that the user did not name (`acmix_nas.plugins`).
    """
    path = find_space(name_or_path)
    top = read(path)
    field = top.mapping(
        ["host", "input_size", "patch_size", "widths", "depths", "choices", "proxies"],
        ["summary", "conv_on", "per", "mixer", "first", "cost", "task", "head"],
    )
    host = field["host"].text()
    if not registry.known("hosts", host):
        raise field["host"].error(f"one of {', '.join(registry.names('hosts'))} is needed; it is {host!r}.")
    widths = tuple(node.whole() for node in field["widths"].items())
    depths = tuple(node.whole(most=MAX_DEPTH) for node in field["depths"].items())
    if len(widths) > MAX_STAGES:
        raise field["widths"].error(f"at most {MAX_STAGES} stages are possible; there are {len(widths)}.")
    if len(widths) != len(depths):
        raise field["depths"].error(
            f"one depth for each of the {len(widths)} widths is needed; there are {len(depths)}."
        )
    fixed = _fixed(field.get("mixer"), len(depths))
    per = per or (field["per"].text(["stage", "block"]) if "per" in field else "stage")
    nodes = field["choices"].mapping((), FIELDS)
    _check_options(field["choices"], nodes, depths if per == "block" else (1,) * len(depths))
    space = Space(
        name=path.stem,
        host=host,
        widths=widths,
        depths=depths,
        input_size=field["input_size"].size(MAX_PIXELS),
        patch_size=field["patch_size"].whole(),
        fixed=fixed,
        choices=tuple(_choices(field["choices"], nodes, fixed, depths, per)),
        conv_on=field["conv_on"].text(CONV_ON) if "conv_on" in field else None,
        proxies={name: _proxy(name, node, len(depths)) for name, node in field["proxies"].mapping().items()},
        cost=field["cost"].text(COSTS) if "cost" in field else "macs",
        summary=field["summary"].text() if "summary" in field else "",
        task=field["task"].text() if "task" in field else None,
        head=field["head"].text() if "head" in field else None,
    )
    plugins.check_named(space.named, path)
    _check_heads(space, nodes, field)
    _check_builds(space, nodes)
    for proxy, node in zip(space.proxies.values(), field["proxies"].mapping().values(), strict=True):
        _check_proxy(space, proxy, node)
    first = {label: _first(space, node) for label, node in field["first"].mapping().items()} if "first" in field else {}
    return replace(space, first=first)


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
            seen = _effective(choice.field, option, size, space.fixed[choice.stage].get("attention"))
            groups.setdefault(seen, []).append(option)
        yield Distinction(choice, size, tuple(tuple(group) for group in groups.values()))


def _check_options(top: Node, nodes: Mapping[str, Node], places: tuple[int, ...]) -> None:
    """Every option of every place is built once when a space is read."""
    lists = [
        node.value["options"] if isinstance(node.value, dict) and "options" in node.value else node
        for node in nodes.values()
    ]
    options = sum(places) * sum(len(node.value) for node in lists if isinstance(node.value, list))
    if options > MAX_OPTIONS:
        raise top.error(f"all blocks together may have {MAX_OPTIONS:,} options; they have {options:,}.")


def _fixed(mixer: Node | None, stages: int) -> tuple[Mapping[str, Value], ...]:
    """For each stage, the mixer fields that do not vary; a list gives one value for each stage, null for none."""
    rows: list[dict[str, Value]] = [{} for _ in range(stages)]
    for name, node in (mixer.mapping((), FIELDS) if mixer else {}).items():
        values = node.items() if isinstance(node.value, list) else [node] * stages
        if len(values) != stages:
            raise node.error(f"one value, or one for each of the {stages} stages, is needed; there are {len(values)}.")
        for row, value in zip(rows, values, strict=True):
            if value.value is not None or value is node:
                row[name] = _option(name, value)
    return tuple(rows)


def _choices(
    top: Node, nodes: Mapping[str, Node], fixed: tuple[Mapping[str, Value], ...], depths: tuple[int, ...], per: str
) -> Iterator[Choice]:
    if not nodes:
        raise top.error("a space needs at least one choice.")
    if {"num_heads", "head_dim"} <= set(nodes):
        raise nodes["head_dim"].error("num_heads and head_dim say the same thing; keep one.")
    parsed = {name: _choice(nodes[name], depths) for name in FIELDS if name in nodes}
    for stage, depth in enumerate(depths):
        for prefix in (
            [f"stages.{stage}"] if per == "stage" else [f"stages.{stage}.blocks.{block}" for block in range(depth)]
        ):
            here = {name: options for name, (options, _, _, stages) in parsed.items() if stage in stages}
            for name, options in here.items():
                if name in fixed[stage]:
                    raise nodes[name].error(f"is fixed under `mixer` for stage {stage}; remove it there.")
                _, ordered, when, _ = parsed[name]
                conditions = _conditions(name, nodes[name], here, fixed[stage], when)
                yield Choice(
                    f"{prefix}.{name}",
                    options,
                    ordered,
                    {f"{prefix}.{other}": allowed for other, allowed in conditions.items()},
                )


def _choice(node: Node, depths: tuple[int, ...]) -> tuple[tuple[Value, ...], bool, Mapping[str, Node], list[int]]:
    """Options, ordered, when, stages of one entry under `choices`."""
    name = node.path.rpartition(".")[2]
    parts = (
        node.mapping(["options"], ["ordered", "when", "stages"]) if isinstance(node.value, dict) else {"options": node}
    )
    options = tuple(_option(name, item) for item in parts["options"].items())
    if len(set(options)) < len(options):
        raise parts["options"].error(f"each option once is needed; there are {', '.join(map(str, options))}.")
    ordered = parts["ordered"].value if "ordered" in parts else False
    if not isinstance(ordered, bool):
        raise parts["ordered"].error("true or false is needed.")
    when = parts["when"].mapping((), FIELDS) if "when" in parts else {}
    stages = [item.whole(0) for item in parts["stages"].items()] if "stages" in parts else list(range(len(depths)))
    if max(stages) >= len(depths):
        raise parts["stages"].error(f"stages are counted from 0 to {len(depths) - 1}.")
    return options, ordered, when, stages


def _conditions(
    name: str, node: Node, here: Mapping[str, tuple[Value, ...]], fixed: Mapping[str, Value], when: Mapping[str, Node]
) -> dict[str, tuple[Value, ...]]:
    """Which values of the fields before it let this field have an effect, and what the file adds to that."""
    field = "num_heads" if name == "head_dim" else name
    conditions: dict[str, tuple[Value, ...]] = {}
    for other in FIELDS[: FIELDS.index(name)]:
        options = here.get(other, (fixed[other],) if other in fixed else ())
        beside = {"operator": "acmix", **fixed}
        allowed = tuple(option for option in options if field not in without_effect({**beside, other: option}))
        if options and not allowed:
            raise node.error(f"has no effect: {other} is always {', '.join(map(str, options))}.")
        if len(allowed) < len(options):
            conditions[other] = allowed
    for other, wanted in when.items():
        values = tuple(_option(other, item) for item in wanted.items())
        if FIELDS.index(other) >= FIELDS.index(name) or not set(values) <= set(here.get(other, ())):
            raise wanted.error(f"`when` names options of a choice among {', '.join(FIELDS[: FIELDS.index(name)])}.")
        conditions[other] = tuple(value for value in conditions.get(other, values) if value in values)
    return conditions


def _option(name: str, node: Node) -> Value:
    return node.text(WORDS[name]) if name in WORDS else node.scalar()


def _proxy(name: str, node: Node, stages: int) -> Proxy:
    field = node.mapping(
        ["input_size", "patch_size", "width", "depths", "epochs", "batch_size", "learning_rate"],
        ["images", "inert", "recipe"],
    )
    depths = tuple(item.whole(most=MAX_DEPTH) for item in field["depths"].items())
    if len(depths) != stages:
        raise field["depths"].error(f"one depth for each of the {stages} stages is needed; there are {len(depths)}.")
    return Proxy(
        name=name,
        input_size=field["input_size"].size(MAX_PIXELS),
        patch_size=field["patch_size"].whole(),
        width=field["width"].number(0.01, 100),
        depths=depths,
        epochs=field["epochs"].whole(),
        images=field["images"].whole() if "images" in field else None,
        batch_size=field["batch_size"].whole(),
        learning_rate=field["learning_rate"].number(),
        inert=field["inert"].text(["error", "allow"]) if "inert" in field else "error",
        recipe={key: _plain(value) for key, value in field["recipe"].mapping().items()} if "recipe" in field else {},
    )


def _plain(node: Node) -> Any:
    """The value of a field, a list of scalars for a list."""
    return [_plain(item) for item in node.items()] if isinstance(node.value, list) else node.value


def _check_heads(space: Space, nodes: Mapping[str, Node], top: Mapping[str, Node]) -> None:
    """Heads must divide the channels of their stage, in the full network and in every proxy."""
    places = {"full size": space.widths} | {
        f"proxy {proxy.name}": proxy.widths(space.widths) for proxy in space.proxies.values()
    }
    for stage, width in enumerate(space.widths):
        for name in ("num_heads", "head_dim"):
            options = [
                option
                for choice in space.choices
                if (choice.stage, choice.field) == (stage, name)
                for option in choice.options
            ]
            options += [space.fixed[stage][name]] if name in space.fixed[stage] else []
            where = nodes.get(name, top.get("mixer", top["widths"]))
            for option in options:
                if type(option) is not int or option < 1 or (name == "head_dim" and width % option):
                    raise where.error(
                        f"{name} {option} does not divide the {width} channels of stage {stage}; choose a divisor."
                    )
                heads = width // option if name == "head_dim" else option
                for place, widths in places.items():
                    if widths[stage] % heads:
                        raise where.error(
                            f"{heads} heads ({name} {option}) do not divide the {widths[stage]} channels of stage "
                            f"{stage} at {place}; change the option or the width."
                        )


def _check_builds(space: Space, nodes: Mapping[str, Node]) -> None:
    """Builds one network for every option of every choice."""
    for choice in space.choices:
        for option in choice.options:
            needed: Values = {choice.name: option}
            for other in reversed(space.choices):
                for name, allowed in other.when.items():
                    if other.name in needed:
                        needed.setdefault(name, allowed[0])
            values = next(space.completions(needed))
            try:
                if space.values(space.build(values)) != values:
                    raise SpaceError(
                        "other values build the same network; make it a choice only where it has an effect."
                    )
            except SpaceError as error:
                raise nodes[choice.field].error(f"option {option}: {error}") from error


def _check_proxy(space: Space, proxy: Proxy, node: Node) -> None:
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


def _effective(field: str, option: Any, size: Size, attention: Any) -> Any:
    """The option as far as a map of this size can tell it from others, in height and width where these differ.

    A Swin window is no larger than the map; a local window is, by reflection.
    Taps of a convolution that always fall outside the map add nothing.
    """
    if field == "attn_kernel" and attention == "window":
        return each_side(size, lambda side: min(option, side))
    if field == "conv_kernel":
        return each_side(size, lambda side: min(option, 2 * side - 1))
    return option


def _first(space: Space, node: Node) -> Values:
    """Values of a first trial: a field's name stands for all stages, stages.S.FIELD for one, a full name for itself."""
    names = {choice: (choice.name, f"stages.{choice.stage}.{choice.field}", choice.field) for choice in space.choices}
    given = node.mapping((), list(dict.fromkeys(name for known in names.values() for name in reversed(known))))

    def choose(choice: Choice) -> Value:
        wanted = next((given[name] for name in names[choice] if name in given), None)
        if wanted is None:
            raise node.error(f"{choice.field} is missing; it is one of {', '.join(map(str, choice.options))}.")
        value = wanted.scalar()
        if value not in choice.options:
            raise wanted.error(f"one of {', '.join(map(str, choice.options))} is needed; it is {value!r}.")
        return value

    return space.sample(choose)
