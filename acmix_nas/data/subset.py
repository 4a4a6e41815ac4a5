"""`plan_subset`: which images of a source make a proxy subset, drawn on labels alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from timm.data.imagenet_info import ImageNetInfo

from acmix_nas.data.draw import Indices, draw_balanced, draw_classes, draw_held_out, draw_per_class
from acmix_nas.data.source import Part, Source, first_few
from acmix_nas.data.splits import held_out_size
from acmix_nas.errors import DataError, SpaceError
from acmix_nas.sizes import Size, pair, size_of
from acmix_nas.space.plain_yaml import read_plain, read_utf8

FOLDER = Path(__file__).parent / "classes"
"""Lists with a name: YAML files with `source` and `classes`."""

_SAME = 0.9
"""Share of class names that make a source with ImageNet's 1,000 classes: the hub's copy renames a few doublets."""


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

    def only(self, places: Indices) -> "Planned":
        """Those at some places."""
        return Planned(part=self.part, chosen=self.chosen[places], labels=self.labels[places])


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
    train = _of_classes(source.train, numbers)
    if source.search is None:
        wanted = held_out_size(train.labels) if search_images is None else search_images
        held_out = draw_held_out(train.labels, wanted, seed)
        search, rest = train.only(held_out), train.only(np.setdiff1d(np.arange(len(train.labels)), held_out))
    else:
        search, rest = _of_classes(source.search, numbers), train
        search = search.only(draw_balanced(search.labels, search_images, seed))
    splits = {
        "train": rest.only(draw_per_class(rest.labels, images_per_class, seed)),
        "search": search,
        "report": _of_classes(source.validation, numbers),
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


def _of_classes(part: Part, numbers: Indices) -> Planned:
    """The images of some classes, which are numbered anew."""
    places = np.flatnonzero(np.isin(part.labels, numbers))
    return Planned(part=part, chosen=places, labels=np.searchsorted(numbers, part.labels[places]))


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
            f"the source has each class of {asked}; {len(missing)} of {len(wanted)} are missing: {first_few(missing)}. "
            f"Its classes are {first_few(classes)}."
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
    try:
        if file.suffix not in (".yaml", ".yml"):
            lines = [line.partition("#")[0].strip() for line in read_utf8(file).splitlines()]
            return [line for line in lines if line]
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
