"""Images that folders or lists name, with the class of each."""

import json
import subprocess
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from acmix_nas.data.fingerprint import fingerprint
from acmix_nas.data.source import Source, divided
from acmix_nas.data.sources._files import Files, in_order
from acmix_nas.data.sources._labels import sort_names
from acmix_nas.errors import DataError, SpaceError
from acmix_nas.space.plain_yaml import read_utf8

READER = Path(__file__).with_name("_matlab.py")
MOST = 2**28
"""Bytes of the largest list that is read."""

Rows = Iterable[tuple[str, str]]
"""(file, class) of each image; the file relative to a folder."""


class Listing:
    """The parts of a source of image files.

    Args:
        root: What the names of images are relative to in the fingerprint.

    Attributes:
        known: The number of each class that was met, as the labels of `parts` have it until `source` is made.
        parts: Images by "train" and "validation".
        passed_over: How many files were no images, by extension.
        notes: What a user should know of how the images were listed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: dict[str, int] = {}
        self.parts: dict[str, Files] = {}
        self.passed_over: Counter[str] = Counter()
        self.notes: list[str] = []

    def add(self, part: str, folder: Path, rows: Rows, where: Path) -> None:
        """Takes the images of a part, or more of them, from a list.

        Args:
            part: "train" or "validation".
            folder: What the files are relative to.
            rows: The list.
            where: The file that it is from, for messages.

        Raises:
            DataError: A file lies outside the folder or is there twice, none of the files is there, or a class has no
                name.
        """
        files, labels = self.parts.get(part, Files()), array("q")
        before, is_there = len(files.names), False
        for name, label in rows:
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or not path.name:
                raise DataError(f"a list names files below its own folder; {where} names {name!r}. Correct the list.")
            if not label.strip():
                raise DataError(f"a class has a name; {where} has none for {name}. Give it one, or leave it out.")
            files.add(str(folder / path.parent), path.name)
            labels.append(self.number(label))
            is_there = is_there or files.sizes[-1] >= 0
        if not labels:
            return
        if not is_there:
            raise DataError(
                f"a list lies beside its images; none of the {len(labels)} that {where} names is there, the first "
                f"should be {files.names[before]}. Unpack the images there."
            )
        for first, later in files.repeated()[:1].tolist():
            raise DataError(
                f"a list names each image once; {files.names[first]} and {files.names[later]} are one file. Remove one "
                "of the rows."
            )
        files.labels = np.append(files.labels, np.array(labels, dtype=np.int64))
        self.parts[part] = files

    def number(self, name: str) -> int:
        """The number of a class."""
        return self.known.setdefault(name, len(self.known))

    def source(self, kind: str, spec: str | Path, *, former: str = "") -> Source:
        """The source, with a share held out where there are no validation images.

        Raises:
            DataError: There are no images to train on, one is in two parts, or a class has too few.
        """
        if "train" not in self.parts:
            raise DataError(f"{spec} has lists that name no images to train on.")
        train, validation = self.parts["train"], self.parts.get("validation")
        if validation is not None and (shared := train.shared(validation)):
            first, later = train.names[shared[0]], validation.names[shared[1]]
            said = f"{first} is in both. Remove one row"
            if first != later:
                said = f"{first} and {later} are one file. Remove one of them"
            raise DataError(f"no image is in two parts of a source; {said}.")
        classes, places = sort_names(self.known, in_order)
        for part in self.parts.values():
            part.labels = places[part.labels]
            part.devices = part.inodes = array("Q")  # no longer needed
        name = Path(spec).resolve().name
        rest, held_out, notes = divided(train, validation, name)
        return Source(
            kind=kind,
            name=name,
            classes=classes,
            train=rest,
            validation=held_out,
            fingerprint=fingerprint(classes, [part.content(self.root) for part in self.parts.values()]),
            former=former,
            passed_over=self.passed_over,
            notes=(*self.notes, *notes),
        )


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty, without white space around them.

    Raises:
        DataError: It is too large, or no text.
    """
    return [line.strip() for line in read_text(file).split("\n") if line.strip()]


def read_text(file: Path, most_bytes: int = MOST) -> str:
    """The text of a list.

    Raises:
        DataError: It is too large, or no text.
    """
    try:
        return read_utf8(file, most_bytes).removeprefix("\ufeff")
    except SpaceError as error:
        raise DataError(str(error)) from error


def read_pairs(file: Path, *, split: Callable[[str], Sequence[str]] = str.split) -> list[list[str]]:
    """The words of each line of a text file.

    Raises:
        DataError: A line has fewer than two.
    """
    rows = [list(split(line)) for line in read_lines(file)]
    for number, row in enumerate(rows, 1):
        if len(row) < 2:
            raise DataError(f"each line of {file} has 2 words; line {number} has {' '.join(row)!r}.")
    return rows


def read_matlab(file: Path, *names: str) -> list[Any]:
    """Variables of a MATLAB file as plain values: structures as mappings, arrays as lists.

    Raises:
        DataError: The file cannot be read, or lacks one of them.
    """
    line = [sys.executable, "-P", str(READER), str(file), *names]
    done = subprocess.run(line, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        why = done.stdout.strip() or done.stderr.strip()[-200:] if done.returncode > 0 else "its reader crashed"
        raise DataError(
            f"{file} cannot be read as a MATLAB file with {', '.join(names)}: {why}. Is it complete? Download it again."
        )
    found: list[Any] = json.loads(done.stdout)
    return found


def each(value: Any) -> list[Any]:
    """The elements of a variable, which is no list where it has one."""
    return value if isinstance(value, list) else [value]
