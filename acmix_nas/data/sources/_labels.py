"""Classes as tables of images have them: which column they are in, their numbers and names, checked."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from acmix_nas.data.draw import Indices
from acmix_nas.data.source import first_few
from acmix_nas.errors import DataError

IMAGE = ("image", "img", "jpg", "png")
LABEL = ("label", "fine_label", "labels", "cls")
MOST_CLASSES = 1_000_000
"""Classes are numbered without gaps, and a source has images of each; no source of images has as many."""


class Labelled(Protocol):
    """A part whose labels may still change."""

    labels: Indices


def check_number(value: int, where: str) -> int:
    """A class number; -1 stands for an image without a label, which a source refuses by itself.

    Raises:
        DataError: It is too large or negative.
    """
    if not -1 <= value < MOST_CLASSES:
        raise DataError(
            f"a label is a class number from 0 to {MOST_CLASSES - 1:,}; {where} has {value}. Number the classes from 0 "
            "on, without gaps."
        )
    return value


def number_labels(values: Sequence[Any], known: dict[str, int] | None, where: str, row: int = 0) -> Indices:
    """Class numbers of some rows of a table.

    Args:
        values: Their labels.
        known: The number of each class name that was met; new ones are added. None where labels are numbers.
        where: The table, for messages.
        row: Number of the first row.

    Returns:
        (N,)

    Raises:
        DataError: A row has no label, or none that a class has.
    """
    if None in values:
        raise DataError(
            f"each row has a label; row {row + values.index(None)} of {where} has none. Give it one, or leave it out."
        )
    if known is not None:
        for name in dict.fromkeys(values):
            if not name.strip():
                place = f"row {row + values.index(name)} of {where}"
                raise DataError(f"a class has a name; {place} has {name!r}. Give it one, or leave it out.")
            known.setdefault(name, len(known))
        return np.array([known[name] for name in values], dtype=np.int64)
    for value in {max(values), min(values)} if values else ():
        check_number(value, f"row {row + values.index(value)} of {where}")
    return np.array(values, dtype=np.int64)


def sort_names(known: Mapping[str, int], key: Callable[[str], Any] | None = None) -> tuple[tuple[str, ...], Indices]:
    """Names in the order of the alphabet, or of a key, and the place there of each number in `known`."""
    names = tuple(sorted(known, key=key))
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[name] for name in known], dtype=np.int64)


def settle(parts: Sequence[Labelled], names: tuple[str, ...] | None, known: Mapping[str, int]) -> tuple[str, ...]:
    """The names of the classes of a source.

    Args:
        parts: Its parts. Where classes have names alone, their labels, numbers in `known`, become the places in the
            order of the alphabet.
        names: Names of the class numbers; () where there are none, None where labels are names.
        known: The number of each class name that was met.
    """
    if names is not None:
        largest = max((int(part.labels.max()) for part in parts if len(part.labels)), default=-1)
        return names or tuple(str(number) for number in range(largest + 1))
    classes, places = sort_names(known)
    for part in parts:
        part.labels = places[part.labels]
    return classes


def in_words(names: tuple[str, ...] | None) -> str:
    """What the labels of a table are: class numbers with these names, or class names themselves where it is None."""
    if names is None:
        return "class names"
    return f"class numbers named {first_few(names)}" if names else "class numbers without names"


def find_columns(columns: Sequence[str], where: str) -> tuple[str, str]:
    """Names of the columns of images and of labels.

    Raises:
        DataError: One of them is missing.
    """
    image = next((name for name in IMAGE if name in columns), None)
    label = next((name for name in LABEL if name in columns), None)
    if image is None or label is None:
        raise DataError(
            f"a table of images has a column {' or '.join(IMAGE)} and a column {' or '.join(LABEL)}; {where} has "
            f"{', '.join(columns)}. Rename them."
        )
    return image, label


def needed(module: str, what: str) -> ModuleType:
    """Imports a library that is not installed with acmix-nas.

    Raises:
        DataError: It is missing; the message has the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DataError(f"{what} needs {package}: {error}. Install it with: pip install {package}") from error
