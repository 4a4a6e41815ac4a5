"""YAML of unknown origin as plain values: safe tags, a few levels, no aliases, a size that parses in a moment."""

from pathlib import Path
from typing import Any

import yaml

from acmix_nas.errors import SpaceError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_BITS = 64
"""Of a whole number: printing one of a million digits takes minutes, and Python refuses."""
BUILDING = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What PyYAML raises for values that do not fit their tags."""


def read_plain(file: Path) -> Any:
    """The values of a YAML file.

    Raises:
        SpaceError: It cannot be read, is too large, or is no such YAML.
    """
    text = read_utf8(file)
    try:
        return _bounded(yaml.load(text, Loader=_PlainLoader))
    except BUILDING as error:
        raise SpaceError(f"{file} is not plain YAML: {' '.join(str(error).split())}.") from error


def read_utf8(file: Path, most_bytes: int = MAX_BYTES) -> str:
    """The text of a file.

    Raises:
        SpaceError: It cannot be read, is too large, or is no UTF-8.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise SpaceError(f"{file} is larger than {most_bytes:,} bytes; such a file takes a few thousand.")
        return data.decode("utf-8")
    except OSError as error:
        raise SpaceError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SpaceError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}.") from error


def bounded(value: Any) -> Any:
    """A scalar, unless it is a whole number that nobody means.

    Raises:
        ValueError: It is.
    """
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ValueError(f"a whole number of {value.bit_length()} bits")
    return value


def _bounded(value: Any) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            bounded(key)
            _bounded(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            _bounded(item)
    return bounded(value)


class _PlainLoader(yaml.SafeLoader):
    """Safe, and without aliases: a small file cannot become a huge value."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed in it")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node
