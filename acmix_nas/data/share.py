"""Shares of images that come without a validation part: every class in proportion, the same whatever a run's seed."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from acmix_nas.data.draw import Indices, draw_held_out
from acmix_nas.data.source import Part
from acmix_nas.errors import DataError

HELD_OUT = 5
"""One image of this many is held out for the report split."""
HELD_OUT_MOST = 10_000
SEED = 0


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

    Args:
        train: Labelled images.
        validation: The validation part of a source; its labels are -1 where its publisher keeps them back.
        where: Name of the source, for messages.

    Returns:
        The two parts, and notes on what was passed over and held out.

    Raises:
        DataError: As `hold_out`.
    """
    if validation is not None and not (len(validation.labels) and (validation.labels == -1).all()):
        return train, validation, ()
    notes = [] if validation is None else [f"{where} has a part that is skipped: all its labels are -1"]
    rest, held_out, note = hold_out(train, where)
    return rest, held_out, (*notes, note)


def hold_out(part: Part, where: str) -> tuple[Share, Share, str]:
    """Divides images into those to train on and those of the validation part.

    Args:
        part: Labelled images, in an order that depends on their names alone.
        where: What they lie in, for messages.

    Returns:
        Images to train on, a fifth of all but 10,000 at most to validate on, and a note that says so.

    Raises:
        DataError: There is a class that has too few.
    """
    labels = part.labels
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 3:
        raise DataError(
            f"{where} has no validation images of its own, so each class needs three images: for training, search "
            f"and report. {(counts < 3).sum()} of its {len(classes)} classes have fewer; the first is that of "
            f"{part.name(int(np.flatnonzero(labels == classes[counts.argmin()])[0]))}. Add images, or leave it "
            "out."
        )
    size = min(len(labels) - 2 * len(classes), max(len(classes), min(HELD_OUT_MOST, len(labels) // HELD_OUT)))
    held_out = draw_held_out(labels, size, SEED)
    rest = np.setdiff1d(np.arange(len(labels)), held_out)
    note = (
        f"{where} has no validation images of its own: {size:,} of its {len(labels):,} images, of every class in "
        "proportion, are held out for report, the same ones in every run"
    )
    return Share(part=part, places=rest), Share(part=part, places=held_out), note
