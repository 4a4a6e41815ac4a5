"""Class numbers and names as files have them, checked before anything is made of them."""

from collections.abc import Iterable

from acmix_nas.errors import DataError

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


def check_name(value: str, where: str) -> str:
    """A class name.

    Raises:
        DataError: It is empty.
    """
    if not value.strip():
        raise DataError(f"a class has a name; {where} has {value!r}. Give it one, or remove the image.")
    return value


def numbered(labels: Iterable[int]) -> tuple[str, ...]:
    """Names of classes that have numbers alone: "0" to the largest that is there."""
    return tuple(str(number) for number in range(max(labels, default=-1) + 1))
