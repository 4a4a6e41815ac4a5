"""Which images go into which split: seeded draws on labels alone, before anything is decoded."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from acmix_nas.errors import DataError

Indices = npt.NDArray[np.int64]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators of `random` and `numpy` start from a seed, and afterwards are as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (timm draws from it)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def draw_held_out(labels: Indices, size: int, seed: int) -> Indices:
    """Draws images to hold out: every class in proportion, at least one of each where `size` allows it.

    The last image of a class is never taken, so that each class keeps one to train on. A larger draw with the same
    seed contains the smaller one.

    Args:
        labels: Class of each image, (N,).
        size: How many images to draw.
        seed: Seed of the draw.

    Returns:
        Their indices, ascending.

    Raises:
        DataError: `size` is not positive, or less than one image of a class would be left.
    """
    rank, count = _rank_in_class(labels, seed, stream=0)
    left = len(np.unique(labels))
    if not 1 <= size <= len(labels) - left:
        raise DataError(
            f"the search split takes 1 to {len(labels) - left} of the {len(labels)} training images ({left} classes "
            f"keep one each to train on); it should have {size}. Give each class more images, or ask for fewer."
        )
    share = np.where(rank == count - 1, np.inf, rank / count)
    return _first(share, labels, size, seed)


def draw_balanced(labels: Indices, size: int | None, seed: int) -> Indices:
    """Draws a subset with equally many images of each class, as far as the classes have them.

    A larger draw with the same seed contains the smaller one.

    Args:
        labels: Class of each image, (N,).
        size: How many images to draw; None for all.
        seed: Seed of the draw.

    Returns:
        Their indices, ascending.

    Raises:
        DataError: `size` is below the number of classes or above the number of images.
    """
    if size is None:
        return np.arange(len(labels))
    classes = len(np.unique(labels))
    if not classes <= size <= len(labels):
        each = f"at least one image of each of the {classes} classes and at most" if classes > 1 else "one image to"
        raise DataError(
            f"a subset has {each} all {len(labels)} images; {size} were asked for. Give a number from {classes} to "
            f"{len(labels)}."
        )
    rank, _ = _rank_in_class(labels, seed, stream=1)
    return _first(rank.astype(np.float64), labels, size, seed)


def draw_per_class(labels: Indices, size: int | None, seed: int) -> Indices:
    """Draws `size` images of each class, all of a class that has fewer.

    The images of a larger draw with the same seed contain those of the smaller one.

    Args:
        labels: Class of each image, (N,).
        size: How many images of a class; None for all.
        seed: Seed of the draw.

    Returns:
        Their indices, ascending.
    """
    rank, _ = _rank_in_class(labels, seed, stream=1)
    return np.flatnonzero(rank < (len(labels) if size is None else size))


def draw_classes(num_classes: int, size: int, seed: int) -> Indices:
    """Draws classes; a larger draw with the same seed contains the smaller one.

    Args:
        num_classes: How many there are.
        size: How many to draw.
        seed: Seed of the draw.

    Returns:
        Their numbers, ascending.

    Raises:
        DataError: `size` is below two or above `num_classes`.
    """
    if not 2 <= size <= num_classes:
        raise DataError(f"a subset has 2 to all {num_classes} classes of its source; {size} were asked for.")
    return np.sort(np.random.default_rng([seed, 3]).permutation(num_classes)[:size])


def _rank_in_class(labels: Indices, seed: int, *, stream: int) -> tuple[Indices, Indices]:
    """Place of each image in a random order of its class, and how many images its class has."""
    shuffled = np.random.default_rng([seed, stream]).permutation(len(labels))
    grouped = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, counts = np.unique(labels[grouped], return_index=True, return_counts=True)
    rank, count = np.empty_like(grouped), np.empty_like(grouped)
    rank[grouped] = np.arange(len(labels)) - np.repeat(starts, counts)
    count[grouped] = np.repeat(counts, counts)
    return rank, count


def _first(key: npt.NDArray[np.float64], labels: Indices, size: int, seed: int) -> Indices:
    # Equal keys are ordered by a random order of the classes: a remainder must not always go to the first names.
    order_of_class = np.random.default_rng([seed, 2]).permutation(int(labels.max()) + 1)
    return np.sort(np.lexsort((order_of_class[labels], key))[:size])
