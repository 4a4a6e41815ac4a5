"""`Source`: labelled images listed and not yet decoded, whatever they lie in."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image

from acmix_nas.data.draw import Indices, draw_held_out
from acmix_nas.errors import DataError

VALIDATION = ("val", "valid", "validation", "test")
"""What the validation part of a source may be called, the first that is there being taken."""

HELD_OUT = 5
"""One image of this many is held out for the report split."""
HELD_OUT_MOST = 10_000
HELD_OUT_SEED = 0


class Part(Protocol):
    """Images of one part of a source.

    Threads open images at the same time; they are asked for in rising order, more or less.
    """

    @property
    def labels(self) -> Indices:
        """Class of each image, (N,)."""

    def name(self, index: int) -> str:
        """Where an image lies, for messages."""

    def open(self, index: int) -> Image.Image:
        """An image, its pixels not yet decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source before anything is decoded.

    Attributes:
        kind: Name of the module in `data/sources/` that reads it.
        name: Short name for headers and captions.
        classes: Names of the classes; the label is the index. () of a source without classes, whose labels are all 0.
        pixel_classes: Names of the classes of pixels, where the parts are `acmix_nas.data.masks.MaskedPart`s.
        train: Images to train on.
        validation: Images of the validation part.
        search: Images that the source itself holds out of `train`; None where they are to be drawn.
        fingerprint: Tells sources apart by what is in them, as `acmix_nas.data.fingerprint` says.
        former: Fingerprint by the rule of acmix-nas 0.1, for what was stored then.
        passed_over: How many files were not read, by extension or by why.
        notes: What a user should know of how the source was listed.
    """

    kind: str
    name: str
    classes: tuple[str, ...]
    train: Part
    validation: Part
    fingerprint: str
    search: Part | None = None
    pixel_classes: tuple[str, ...] = ()
    former: str = ""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def remarks(self) -> tuple[str, ...]:
        """What a user should know before a result on these images is believed: `notes`, and what was passed over."""
        if not self.passed_over:
            return self.notes
        counts = ", ".join(f"{count:,} {name}" for name, count in by_number(self.passed_over).items())
        return (*self.notes, f"{sum(self.passed_over.values()):,} files of {self.name} are not read: {counts}")

    def __post_init__(self) -> None:
        """Checks what every source must have: images, and classes, if any, that are two or more and all trained on."""
        for part, what in ((self.train, "train"), (self.validation, "validation")):
            if not len(part.labels):
                raise DataError(
                    f"each part of a source has images; {self.name}, read as {self.kind}, has no {what} image."
                )
            if part.labels.min() < 0 or part.labels.max() >= max(len(self.classes), 1):
                raise DataError(
                    f"the labels of {self.name} are 0 to {max(len(self.classes) - 1, 0)}; its {what} part has "
                    f"{part.labels.min()} to {part.labels.max()}. A part without labels (-1) cannot be used."
                )
        if not self.classes:
            return
        if len(self.classes) < 2:
            raise DataError(
                f"a source of classes has two classes or more; {self.name}, read as {self.kind}, has "
                f"{', '.join(self.classes)} only; its first image is {self.train.name(0)}."
            )
        trained = np.bincount(self.train.labels, minlength=len(self.classes)) > 0
        check_classes(
            [name for name, has in zip(self.classes, trained, strict=True) if has],
            [self.classes[label] for label in np.unique(self.validation.labels)],
            f"the validation part of {self.name}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Some images of a part.

    Attributes:
        part: The part.
        places: Which of its images, ascending, (N,).
    """

    part: Part
    places: Indices

    @property
    def labels(self) -> Indices:
        """Class of each, (N,)."""
        return self.part.labels[self.places]

    def name(self, index: int) -> str:
        """As the part names it."""
        return self.part.name(int(self.places[index]))

    def open(self, index: int) -> Image.Image:
        """The image."""
        return self.part.open(int(self.places[index]))


def divided(train: Part, validation: Part | None, where: str) -> tuple[Part, Part, tuple[str, ...]]:
    """Parts to train on and to validate on, the latter a share of the former where there is none that has labels.

    The share is a fifth of the images, 10,000 at most, of every class in proportion, and the same whatever a run's
    seed.

    Args:
        train: Labelled images, in an order that depends on their names alone.
        validation: The validation part of a source; its labels are -1 where its publisher keeps them back.
        where: Name of the source, for messages.

    Returns:
        The two parts, and notes on what was passed over and held out.

    Raises:
        DataError: There is a class that has too few images.
    """
    if validation is not None and not (len(validation.labels) and (validation.labels == -1).all()):
        return train, validation, ()
    notes = [] if validation is None else [f"{where} has a part that is skipped: all its labels are -1"]
    labels = train.labels
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 3:
        raise DataError(
            f"{where} has no validation images of its own, so each class needs three images: for training, search "
            f"and report. {(counts < 3).sum()} of its {len(classes)} classes have fewer; the first is that of "
            f"{train.name(int(np.flatnonzero(labels == classes[counts.argmin()])[0]))}. Add images, or leave it "
            "out."
        )
    size = min(len(labels) - 2 * len(classes), max(len(classes), min(HELD_OUT_MOST, len(labels) // HELD_OUT)))
    held_out = draw_held_out(labels, size, HELD_OUT_SEED)
    rest = np.setdiff1d(np.arange(len(labels)), held_out)
    notes.append(
        f"{where} has no validation images of its own: {size:,} of its {len(labels):,} images, of every class in "
        "proportion, are held out for report, the same ones in every run"
    )
    return Share(part=train, places=rest), Share(part=train, places=held_out), tuple(notes)


def check_classes(train: Sequence[str], validation: Sequence[str], where: str) -> None:
    """Refuses a source with validation images of classes that nothing is trained on.

    Raises:
        DataError: The message names those classes.
    """
    if unknown := sorted(set(validation) - set(train)):
        raise DataError(
            f"each class of {where} needs training images; {len(unknown)} have none: {first_few(unknown)}. Add them to "
            "its train part or remove them."
        )


def first_few(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, for messages."""
    return f"{', '.join(names[:most])}{', ...' if len(names) > most else ''}"


def by_number(found: Iterable[str] | Mapping[str, int]) -> dict[str, int]:
    """How many there are of each, the most first."""
    return dict(sorted(Counter(found).items(), key=lambda item: (-item[1], item[0])))


def digest(pieces: Iterable[str | bytes]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of some pieces, read one after the other."""
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece.encode(errors="surrogateescape") if isinstance(piece, str) else piece)
    return hashed.hexdigest()[:16]
