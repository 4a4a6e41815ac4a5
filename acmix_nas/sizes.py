"""Sizes in pixels: one whole number is a square, a pair is (height, width).

A square is always the one number, in Python as in files, so that what earlier versions wrote is the same today.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from acmix_nas.fields import Rule, list_of, whole

Pair: TypeAlias = tuple[int, int]
Size: TypeAlias = int | Pair


def pair(size: Size) -> Pair:
    """(height, width) of a size."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def size_of(value: int | Sequence[int]) -> Size:
    """The size of a whole number or of a pair; that of two equal numbers is a square."""
    if isinstance(value, int):
        return value
    height, width = value
    return height if height == width else (height, width)


def each_side(size: Size, change: Callable[[int], int]) -> Size:
    """A size whose height and width are changed alike."""
    height, width = pair(size)
    return size_of((change(height), change(width)))


def fitted(size: Size, shape: Size) -> Pair:
    """The largest size within one that has the shape of another, which is the size itself for two squares."""
    (height, width), (rows, columns) = pair(size), pair(shape)
    return min(height, max(1, round(width * rows / columns))), min(width, max(1, round(height * columns / rows)))


def covers(size: Size, other: Size) -> bool:
    """Whether a size is at least another one, in height and in width."""
    return all(own >= least for own, least in zip(pair(size), pair(other), strict=True))


def size_text(size: Any) -> str:
    """A size as people read it: "224", or "160 x 320"."""
    return " x ".join(map(str, size)) if isinstance(size, list | tuple) else str(size)


def size_rule(least: int = 1, **most: int) -> Rule:
    """The rule of a size in a file."""
    side = whole(least, **most)
    sides = list_of(side, 2, 2)
    return Rule(
        f"{side.text}, or two of them for height and width", lambda value: side.fits(value) or sides.fits(value)
    )
