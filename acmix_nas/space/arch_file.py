"""Reads a network from a file such as a study's best.yaml."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from acmix_nas.arch import Arch
from acmix_nas.errors import ArchError, SpaceError

MAX_BYTES = 1_000_000


def load_arch(path: str | os.PathLike[str]) -> Arch:
    """The network that a YAML file describes under `arch`.

    Args:
        path: A study's best.yaml, or a file of one's own with the field `arch` and, at will, its `arch_id`.

    Returns:
        The network; if the file gives an `arch_id`, it is the id of this network.

    Raises:
        SpaceError: The file cannot be read, is no such YAML, or its `arch_id` is that of another network.
    """
    file = Path(path)
    values = _mapping(file, _text(file))
    try:
        arch = Arch.from_dict(values["arch"])
    except ArchError as error:
        raise SpaceError(f"{file}, field arch: {error}") from error
    if values.get("arch_id", arch.id) != arch.id:
        raise SpaceError(
            f"{file} says arch_id {values['arch_id']}, but its arch has {arch.id}; "
            "the arch was edited: delete the line arch_id."
        )
    return arch


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SpaceError(f"{file} is larger than {MAX_BYTES:,} bytes; an arch takes a few thousand.")
        return data.decode("utf-8")
    except OSError as error:
        raise SpaceError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SpaceError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}.") from error


def _mapping(file: Path, text: str) -> Mapping[str, Any]:
    try:
        values = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpaceError(f"{file} is not plain YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, Mapping) or "arch" not in values:
        raise SpaceError(f"{file} has no field arch; a study's best.yaml has one, with host and stages.")
    return values


class _PlainLoader(yaml.SafeLoader):
    """Safe, and without aliases: a small file cannot become a huge value."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed in it")
        return super().compose_node(parent, index)
