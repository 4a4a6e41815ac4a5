"""Reads a network from a file such as a study's best.yaml."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acmix_nas import plugins
from acmix_nas.arch import Arch
from acmix_nas.errors import ArchError, SpaceError
from acmix_nas.space.plain_yaml import read_plain


def load_arch(path: str | os.PathLike[str]) -> Arch:
    """The network that a YAML file describes under `arch`.

    Args:
        path: A study's best.yaml, or a file of one's own with the field `arch` and, optionally, its `arch_id`.

    Returns:
        The network; if the file gives an `arch_id`, it is the id of this network.

    Raises:
        SpaceError: The file cannot be read, is no such YAML, or its `arch_id` is that of another network.
        PluginError: It names a module that the user did not name (`acmix_nas.plugins`).
    """
    file = Path(path)
    values = _mapping(file)
    try:
        arch = Arch.from_dict(values["arch"])
    except ArchError as error:
        raise SpaceError(f"{file}, field arch: {error}") from error
    plugins.check_named(arch.named, file)
    if values.get("arch_id", arch.id) != arch.id:
        raise SpaceError(
            f"{file} says arch_id {values['arch_id']}, but its arch has {arch.id}; "
            "the arch was edited: delete the line arch_id."
        )
    return arch


def _mapping(file: Path) -> Mapping[str, Any]:
    values = read_plain(file)
    if not isinstance(values, Mapping) or "arch" not in values:
        raise SpaceError(f"{file} has no field arch; a study's best.yaml has one, with host and stages.")
    return values
