"""Strips of scored images: the image, its truth and what networks predict, in colours that all can distinguish."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from acmix_nas.errors import RecordError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.by_class import networks_shown
from acmix_nas.report.picture import BLACK, BLUE, GREEN, ORANGE, SKY, VERMILLION
from acmix_nas.thumbnails import file_text, read_classes, read_image

YELLOW, PURPLE = "#F0E442", "#CC79A7"
STRONG = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, BLACK)
"""Okabe and Ito's colours."""
PALE = 0.5
"""Share of white in the colours of further classes, which differ from the first in lightness."""
OTHER, NO_CLASS = "#e2e2e2", "#ffffff"
NOT_SCORED = 255

Picture = NDArray[np.uint8]


class Strips(NamedTuple):
    """What is shown of some scored images; pictures are bytes (H, W, 3).

    Attributes:
        legend: Name of a class -> its colour, of those that cover most first.
        titles: "image", "truth" and the names of networks.
        rows: The pictures of each image, one for each title; None where a network has none.
        more: Whether networks have several trainings, of which the first is shown.
    """

    legend: dict[str, str]
    titles: tuple[str, ...]
    rows: tuple[tuple[Picture | None, ...], ...]
    more: bool


def strips(header: StudyHeader, records: Sequence[TrialRecord]) -> Strips | None:
    """The strips of an ablation's rows, or of the best of a search's front; None of a study without pictures.

    Raises:
        RecordError: What is stored is no picture.
    """
    examples = header.settings.get("examples") or []
    named = networks_shown(header, records, "predictions")
    if not examples or not named:
        return None
    first = next(iter(named.values()))[0]
    classes = first.head["classes"] if first.head is not None else []
    try:
        images = [read_image(example["image"]) for example in examples]
        truths = [read_classes(example["truth"]) for example in examples]
        predicted = {name: [read_classes(text) for text in group[0].predictions] for name, group in named.items()}
    except ValueError as error:
        raise RecordError(f"a picture of the study {header.name!r} cannot be shown: {error}.") from error
    colours = _colours([*truths, *(each for group in predicted.values() for each in group)])
    painted = {name: [_painted(each, colours) for each in group] for name, group in predicted.items()}
    rows = tuple(
        (
            image,
            _painted(truth, colours),
            *(group[number] if number < len(group) else None for group in painted.values()),
        )
        for number, (image, truth) in enumerate(zip(images, truths, strict=True))
    )
    legend = {classes[number] if number < len(classes) else str(number): colour for number, colour in colours.items()}
    if any(colour == OTHER for colour in legend.values()):
        legend = {name: colour for name, colour in legend.items() if colour != OTHER} | {"other classes": OTHER}
    if any((truth == NOT_SCORED).any() for truth in truths):
        legend["no class"] = NO_CLASS
    return Strips(legend, ("image", "truth", *named), rows, any(len(group) > 1 for group in named.values()))


def as_data(picture: Picture) -> str:
    """A picture as the address of an image element."""
    from PIL import Image

    return f"data:image/png;base64,{file_text(Image.fromarray(picture), 'PNG')}"


def _colours(pictures: Iterable[Picture]) -> dict[int, str]:
    """Class -> colour; those that cover most pixels get the strongest, and what no colour is left for is grey."""
    counts = np.zeros(256, dtype=np.int64)
    for picture in pictures:
        counts += np.bincount(picture.ravel(), minlength=256)
    counts[NOT_SCORED] = 0
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda number: (-counts[number], number))
    colours = (*STRONG, *(_pale(colour) for colour in STRONG))
    return {number: colours[place] if place < len(colours) else OTHER for place, number in enumerate(order)}


def _pale(colour: str) -> str:
    return "#" + "".join(f"{round(value + (255 - value) * PALE):02x}" for value in bytes.fromhex(colour[1:]))


def _painted(classes: Picture, colours: dict[int, str]) -> Picture:
    palette = np.full((256, 3), 255, dtype=np.uint8)
    for number, colour in colours.items():
        palette[number] = list(bytes.fromhex(colour[1:]))
    painted: Picture = palette[classes]
    return painted
