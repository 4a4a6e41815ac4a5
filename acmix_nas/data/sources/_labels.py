"""Classes as tables of images have them: which column they are in, their numbers and names, checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from acmix_nas.data.draw import Indices
from acmix_nas.errors import DataError

IMAGE = ("image", "img", "jpg", "png")
LABEL = ("label", "fine_label", "labels", "cls")
MOST_CLASSES = 1_000_000
"""Classes are numbered without gaps, and a source has images of each; no source of images has as many."""


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


def numbered(*labels: Sequence[int] | Indices) -> tuple[str, ...]:
    """Names of classes that have numbers alone: "0" to the largest that is there."""
    largest = max((int(max(part)) for part in labels if len(part)), default=-1)
    return tuple(str(number) for number in range(largest + 1))


def sort_names(known: dict[str, int]) -> tuple[tuple[str, ...], Indices]:
    """Names in the order of the alphabet, and the place there of each number in `known`."""
    names = tuple(sorted(known))
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[name] for name in known], dtype=np.int64)


def in_words(names: tuple[str, ...] | None) -> str:
    """What the labels of a table are: class numbers with these names, or class names themselves where it is None."""
    if names is None:
        return "class names"
    shown = f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
    return f"class numbers named {shown}" if names else "class numbers without names"


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
