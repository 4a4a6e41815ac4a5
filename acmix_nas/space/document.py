"""YAML read with its line numbers, so that every mistake is reported with file, line and field."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from acmix_nas.errors import SpaceError
from acmix_nas.sizes import Size, size_of
from acmix_nas.space.plain_yaml import BUILDING, bounded

MAX_BYTES = 100_000
MAX_DEPTH = 20
MAX_WHOLE = 10**9


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a YAML file with its place.

    Attributes:
        file: The file.
        line: The line, from 1.
        path: The field, for example "proxies.cpu.depths".
        value: A scalar, a list of nodes, or a mapping of names to nodes.
    """

    file: str
    line: int
    path: str
    value: Any

    def error(self, message: str) -> SpaceError:
        """An error that names this place."""
        return SpaceError(f"{self.file}, line {self.line}, field {self.path or '(top)'}: {message}")

    def mapping(self, required: Collection[str] = (), optional: Collection[str] | None = None) -> dict[str, "Node"]:
        """The fields of a mapping; with `optional` given, no others than those two sets."""
        if not isinstance(self.value, dict):
            raise self.error(f"a mapping of names to values is needed; it is {_shown(self)}.")
        missing = [name for name in required if name not in self.value]
        if missing:
            raise self.error(f"{', '.join(missing)} is missing.")
        known = (*required, *(optional or ()))
        for name, node in self.value.items():
            if optional is not None and name not in known:
                raise node.error(f"unknown; {self.path or 'the file'} may have {', '.join(known)}.")
        return self.value

    def items(self) -> list["Node"]:
        """The items of a list that is not empty."""
        if not isinstance(self.value, list) or not self.value:
            raise self.error(f"a list with at least one item is needed; it is {_shown(self)}.")
        return self.value

    def text(self, options: Collection[str] = ()) -> str:
        """A string, one of `options` if there are any."""
        if not isinstance(self.value, str) or (options and self.value not in options):
            rule = f"one of {', '.join(options)}" if options else "a word"
            raise self.error(f"{rule} is needed; it is {_shown(self)}.")
        return self.value

    def whole(self, least: int = 1, most: int = MAX_WHOLE) -> int:
        """A whole number."""
        if type(self.value) is not int or not least <= self.value <= most:
            upper = "up" if most == MAX_WHOLE else f"to {most:,}"
            raise self.error(f"a whole number from {least} {upper} is needed; it is {_shown(self)}.")
        return self.value

    def size(self, most: int = MAX_WHOLE) -> Size:
        """A size in pixels: a whole number, or a list of height and width."""
        if not isinstance(self.value, list):
            return self.whole(most=most)
        if len(self.value) != 2:
            raise self.error(f"a whole number, or two for height and width, is needed; it is {_shown(self)}.")
        return size_of([side.whole(most=most) for side in self.value])

    def number(self, least: float = 0.0, most: float = float("inf")) -> float:
        """A number above zero, from `least` to `most`."""
        if type(self.value) not in (int, float) or not (0 < self.value < float("inf") and least <= self.value <= most):
            rule = f"a number from {least:g} to {most:g}" if least else "a number above 0"
            raise self.error(f"{rule} is needed; it is {_shown(self)}.")
        return float(self.value)

    def scalar(self) -> str | int:
        """A word or a whole number: what an option of a choice may be."""
        if type(self.value) not in (int, str):
            raise self.error(f"a word or a whole number is needed; it is {_shown(self)}.")
        scalar: str | int = self.value
        return scalar


def read(path: Path) -> Node:
    """The document of a YAML file.

    Raises:
        SpaceError: It is too large, too deep, not YAML, uses aliases, or gives a field twice.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SpaceError(f"{path}: a space file has at most {MAX_BYTES} bytes; it has {path.stat().st_size}.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    try:
        _check_events(path, text)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise SpaceError(f"{path}, line 1: the file is empty.")
        return _place(str(path), "", loader, node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpaceError(f"{path}, line {line}: not YAML: {error.problem}.") from error
    except SpaceError:
        raise
    except BUILDING as error:
        raise SpaceError(f"{path}: not YAML: {error}.") from error


def _check_events(path: Path, text: str) -> None:
    """Refuses aliases and deep nesting before anything is built."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise SpaceError(
                f"{path}, line {line}, field *{event.anchor}: aliases are not allowed; write the value out."
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise SpaceError(f"{path}, line {line}: nested deeper than {MAX_DEPTH} levels.")


def _place(file: str, path: str, loader: yaml.SafeLoader, node: yaml.Node) -> Node:
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = {}
        for key, item in node.value:
            name = str(key.value)
            inner = f"{path}.{name}" if path else name
            if not isinstance(key, yaml.ScalarNode) or name in value:
                raise SpaceError(
                    f"{file}, line {key.start_mark.line + 1}, field {inner}: a name, given once, is needed."
                )
            value[name] = _place(file, inner, loader, item)
    elif isinstance(node, yaml.SequenceNode):
        value = [_place(file, f"{path}[{index}]", loader, item) for index, item in enumerate(node.value)]
    else:
        value = bounded(loader.construct_object(node))
    return Node(file, node.start_mark.line + 1, path, value)


def _shown(node: Node) -> str:
    if isinstance(node.value, dict):
        return f"a mapping of {len(node.value)}"
    if isinstance(node.value, list):
        return f"a list of {len(node.value)}"
    return repr(node.value)
