"""Which classes a subset has: a number of them, a named list, or a list in a file."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from timm.data.imagenet_info import ImageNetInfo

from acmix_nas.data.draw import Indices, draw_classes
from acmix_nas.errors import DataError, SpaceError
from acmix_nas.space.plain_yaml import read_plain, read_utf8

FOLDER = Path(__file__).parent / "classes"
"""Lists with a name: YAML files with `source` and `classes`."""

_SAME = 0.9
"""Share of class names that make a source with ImageNet's 1,000 classes: the hub's copy renames a few doublets."""


def list_names() -> list[str]:
    """Names of the lists that come with the package."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def choose_classes(asked: str | None, classes: tuple[str, ...], seed: int) -> Indices:
    """Chooses classes of a source.

    Args:
        asked: A number of classes to draw; a name of `list_names`; a text or YAML file with a class name a line; None
            for all.
        classes: Names of the source's classes.
        seed: Seed of a draw.

    Returns:
        Numbers of the classes, ascending.

    Raises:
        DataError: There is no such list or file, or the source lacks a class of it.
    """
    if asked is None:
        return np.arange(len(classes))
    if asked.isdecimal():
        return draw_classes(len(classes), int(asked), seed)
    wanted, number_of = _read_list(asked), _numbers(classes)
    if missing := [name for name in wanted if name not in number_of]:
        raise DataError(
            f"the source has each class of {asked}; {len(missing)} of {len(wanted)} are missing: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. Its classes are {', '.join(classes[:5])}"
            f"{', ...' if len(classes) > 5 else ''}."
        )
    chosen = np.unique([number_of[name] for name in wanted])
    if len(chosen) < 2:
        raise DataError(f"a subset has two classes or more; {asked} names {', '.join(wanted) or 'none'}.")
    return chosen


def _read_list(asked: str) -> list[str]:
    if asked in list_names():
        return [str(name) for name in yaml.safe_load((FOLDER / f"{asked}.yaml").read_text(encoding="utf-8"))["classes"]]
    file = Path(asked)
    if not file.is_file():
        raise DataError(
            f"--classes takes a number, one of {', '.join(list_names())}, or a file with one class name per line; "
            f"there is no file {asked}."
        )
    if file.suffix in (".yaml", ".yml"):
        return _read_yaml(file)
    try:
        text = read_utf8(file)
    except SpaceError as error:
        raise DataError(str(error)) from error
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line]


def _read_yaml(file: Path) -> list[str]:
    try:
        content = read_plain(file)
    except SpaceError as error:
        raise DataError(str(error)) from error
    names = content.get("classes") if isinstance(content, dict) else content
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"{file} has a list of class names, at its top or under `classes`; quote names that are numbers."
        )
    return names


def _numbers(classes: tuple[str, ...]) -> dict[str, int]:
    """Numbers of classes by name, and by WordNet id where the source has ImageNet's classes under other names."""
    numbers = {name: number for number, name in enumerate(classes)}
    info: Any = ImageNetInfo("imagenet-1k")
    if len(classes) != info.num_classes():
        return numbers
    described = zip(classes, info.label_descriptions(), strict=True)
    same = sum(name in (str(number), description) for number, (name, description) in enumerate(described))
    if same >= _SAME * len(classes):
        numbers |= {wnid: number for number, wnid in enumerate(info.label_names())}
    return numbers
