"""Images that a list names, with the class of each."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from acmix_nas.data.fingerprint import fingerprint
from acmix_nas.data.share import divided
from acmix_nas.data.source import Source
from acmix_nas.data.sources._identity import Identities
from acmix_nas.data.sources._names import Names, in_order
from acmix_nas.data.sources.folder import Files
from acmix_nas.errors import DataError, SpaceError
from acmix_nas.space.plain_yaml import read_utf8

MOST = 2**28
"""Bytes of the largest list that is read."""

Rows = Iterable[tuple[str, str]]
"""(file, class) of each image; the file relative to a folder."""


@dataclass(slots=True)
class Listing:
    """Images of one part.

    Attributes:
        files: Where they lie.
        identities: Size, device and inode of each.
        labels: Number of the class of each in `Listings.known`.
    """

    files: Names = field(default_factory=Names)
    identities: Identities = field(default_factory=Identities)
    labels: "array[int]" = field(default_factory=lambda: array("q"))


class Listings:
    """The parts of a source as lists have them.

    Args:
        root: The source.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: dict[str, int] = {}
        self.parts: dict[str, Listing] = {}
        self.notes: list[str] = []

    def add(self, part: str, folder: Path, rows: Rows, where: Path) -> None:
        """Takes the images of a part, or more of them.

        Args:
            part: "train" or "validation".
            folder: What the files are relative to.
            rows: The list.
            where: The file that it is from, for messages.

        Raises:
            DataError: A file lies outside the folder, none of the files is there, or a class has no name.
        """
        listing = self.parts.setdefault(part, Listing())
        before, is_there = len(listing.labels), False
        for name, label in rows:
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or not path.name:
                raise DataError(f"a list names files below its own folder; {where} names {name!r}. Correct the list.")
            if not label.strip():
                raise DataError(f"a class has a name; {where} has none for {name}. Give it one, or leave it out.")
            listing.files.add_one(str(folder / path.parent), path.name)
            listing.identities.add(str(folder / path))
            listing.labels.append(self.known.setdefault(label, len(self.known)))
            is_there = is_there or listing.identities.sizes[-1] >= 0
        if len(listing.labels) > before and not is_there:
            raise DataError(
                f"a list lies beside its images; none of the {len(listing.labels) - before} that {where} names is "
                f"there, the first should be {listing.files[before]}. Unpack the images there."
            )

    def source(self, kind: str) -> Source:
        """The source, with a share held out where no list is one of validation images.

        Raises:
            DataError: An image is named twice, or a class has too few.
        """
        self._check_distinct()
        classes = tuple(sorted(self.known, key=in_order))
        places = {name: place for place, name in enumerate(classes)}
        numbers = np.array([places[name] for name in self.known], dtype=np.int64)
        parts = {
            name: Files(files=found.files, labels=numbers[np.array(found.labels, dtype=np.int64)])
            for name, found in self.parts.items()
            if len(found.labels)
        }
        contents = [part.content(self.root, self.parts[name].identities.sizes) for name, part in parts.items()]
        if "train" not in parts:
            raise DataError(f"{self.root} has lists that name no images to train on.")
        name = self.root.resolve().name
        train, validation, notes = divided(parts["train"], parts.get("validation"), name)
        return Source(
            kind=kind,
            name=name,
            classes=classes,
            train=train,
            validation=validation,
            fingerprint=fingerprint(classes, contents),
            notes=(*self.notes, *notes),
        )

    def _check_distinct(self) -> None:
        found = [*self.parts.values()]
        for number, listing in enumerate(found):
            for first, later in listing.identities.repeated()[:1].tolist():
                raise DataError(
                    f"a list names each image once; {listing.files[first]} and {listing.files[later]} are one file. "
                    "Remove one of the rows."
                )
            for other in found[:number]:
                if shared := other.identities.shared(listing.identities):
                    raise DataError(
                        f"no image is in two parts of a source; {other.files[shared[0]]} is in both. Remove one row."
                    )


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty, without white space around them.

    Raises:
        DataError: It is too large, or no text.
    """
    return [line.strip() for line in read_text(file).split("\n") if line.strip()]


def read_text(file: Path) -> str:
    """The text of a list.

    Raises:
        DataError: It is too large, or no text.
    """
    try:
        return read_utf8(file, MOST).removeprefix("\ufeff")
    except SpaceError as error:
        raise DataError(str(error)) from error


def read_pairs(file: Path, *, least: int = 2, split: Callable[[str], Sequence[str]] = str.split) -> list[list[str]]:
    """The words of each line of a text file.

    Raises:
        DataError: A line has fewer.
    """
    rows = [list(split(line)) for line in read_lines(file)]
    for number, row in enumerate(rows, 1):
        if len(row) < least:
            raise DataError(f"each line of {file} has {least} words; line {number} has {' '.join(row)!r}.")
    return rows
