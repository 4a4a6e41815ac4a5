"""`plan_subset`: which images of a source make a proxy subset, drawn on labels alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from acmix_nas.data.class_lists import choose_classes
from acmix_nas.data.draw import Indices, draw_balanced, draw_held_out, draw_per_class
from acmix_nas.data.source import Part, Source
from acmix_nas.data.splits import held_out_size
from acmix_nas.errors import DataError
from acmix_nas.sizes import Size, pair, size_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Images of one split, before they are decoded.

    Attributes:
        part: The part of the source that they are in.
        chosen: Their places there, ascending, (N,).
        labels: Class of each in the subset, (N,).
    """

    part: Part
    chosen: Indices
    labels: Indices


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A subset before it is decoded.

    Attributes:
        classes: Names of its classes; the label is the index.
        splits: "train", "search" and "report": disjoint.
        size: Height and width of its images in pixels, one number for squares.
        recipe: What makes two subsets the same, as plain values.
        notes: What was asked for and could not be had, and what of the source is not read.
        former: Fingerprint of the source by the rule of acmix-nas 0.1.
    """

    classes: tuple[str, ...]
    splits: dict[str, Planned]
    size: Size
    recipe: dict[str, Any]
    notes: tuple[str, ...]
    former: str = ""

    @property
    def total(self) -> int:
        """Number of images."""
        return sum(len(planned.chosen) for planned in self.splits.values())


def plan_subset(
    source: Source,
    *,
    classes: str | None = None,
    images_per_class: int | None = None,
    size: Size,
    seed: int = 0,
    search_images: int | None = None,
) -> Plan:
    """Draws a subset of a source: train and search from its training part, report is its validation part.

    With the same seed and search split, more images of a class contain the fewer, and more classes the fewer.

    Args:
        source: The source.
        classes: A number of them, a name or a file, as `choose_classes` takes it; None for all.
        images_per_class: Images of a class to train on, all of a class that has fewer; None for all.
        size: Height and width of the images in pixels, one number for squares.
        seed: Seed of the draws.
        search_images: Size of the search split; None for what `load_splits` takes.

    Raises:
        DataError: The source has no such classes, or too few images.
    """
    least = {"size": min(pair(size)), "images_per_class": images_per_class, "search_images": search_images}
    for name, value in least.items():
        if value is not None and value < 1:
            raise DataError(f"{name} is a whole number from 1 up; it is {value}.")
    numbers = choose_classes(classes, source.classes, seed)
    places, labels = _of_classes(source.train, numbers)
    if source.search is None:
        wanted = held_out_size(labels) if search_images is None else search_images
        held_out = draw_held_out(labels, wanted, seed)
        rest = np.setdiff1d(np.arange(len(labels)), held_out)
        search = Planned(part=source.train, chosen=places[held_out], labels=labels[held_out])
    else:
        search, rest = _draw_search(source.search, numbers, search_images, seed), np.arange(len(labels))
    train = rest[draw_per_class(labels[rest], images_per_class, seed)]
    report_places, report_labels = _of_classes(source.validation, numbers)
    splits = {
        "train": Planned(part=source.train, chosen=places[train], labels=labels[train]),
        "search": search,
        "report": Planned(part=source.validation, chosen=report_places, labels=report_labels),
    }
    names = tuple(source.classes[number] for number in numbers)
    recipe = {
        "source": {"kind": source.kind, "name": source.name, "fingerprint": source.fingerprint},
        "classes": list(names),
        "images_per_class": images_per_class,
        "images": {name: len(planned.chosen) for name, planned in splits.items()},
        "size": size_of(size),
        "seed": seed,
    }
    return Plan(
        classes=names,
        splits=splits,
        size=size_of(size),
        recipe=recipe,
        notes=(*source.remarks(), *_notes(splits, names, images_per_class)),
        former=source.former,
    )


def _of_classes(part: Part, numbers: Indices) -> tuple[Indices, Indices]:
    """Places of the images of some classes, and the number of each image's class among these."""
    places = np.flatnonzero(np.isin(part.labels, numbers))
    return places, np.searchsorted(numbers, part.labels[places])


def _draw_search(part: Part, numbers: Indices, size: int | None, seed: int) -> Planned:
    places, labels = _of_classes(part, numbers)
    drawn = draw_balanced(labels, size, seed)
    return Planned(part=part, chosen=places[drawn], labels=labels[drawn])


def _notes(splits: dict[str, Planned], names: tuple[str, ...], images_per_class: int | None) -> tuple[str, ...]:
    notes = []
    counts = np.bincount(splits["train"].labels, minlength=len(names))
    if images_per_class is not None and (few := np.flatnonzero(counts < images_per_class)).size:
        notes.append(
            f"{few.size} classes have fewer than {images_per_class} images to train on and give all they have, "
            f"{counts.min()} at least"
        )
    if without := len(names) - len(np.unique(splits["report"].labels)):
        notes.append(f"{without} classes have no validation images")
    return tuple(notes)
