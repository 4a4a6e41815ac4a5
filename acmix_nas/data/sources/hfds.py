"""A data set of the Hugging Face hub, or any folder that `datasets.load_dataset` takes."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from acmix_nas.data.draw import Indices
from acmix_nas.data.source import VALIDATION, Source, digest
from acmix_nas.data.sources._columns import find_columns
from acmix_nas.data.sources._optional import needed
from acmix_nas.errors import DataError

PREFIX = "hfds/"
LAYOUT = "hfds/NAME, a data set of the Hugging Face hub, which is downloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """One split of a data set.

    Attributes:
        table: The split, with its images as they are stored.
        image_column: Name of the column of images.
        where: Name of data set and split.
        labels: Class of each, (N,).
    """

    table: Any
    image_column: str
    where: str
    labels: Indices

    def name(self, index: int) -> str:
        """Data set, split and row."""
        return f"{self.where}, row {index}"

    def open(self, index: int) -> Image.Image:
        """The image in a row."""
        value = self.table[index][self.image_column]
        if value and value["bytes"]:
            return Image.open(io.BytesIO(value["bytes"]))
        if value and value["path"]:
            return Image.open(value["path"])
        raise OSError("the row has neither bytes nor the path of an image")


def matches(spec: str) -> bool:
    """Whether the prefix says so."""
    return spec.startswith(PREFIX) and len(spec) > len(PREFIX)


def open_source(spec: str) -> Source:
    """Downloads the data set where that was not done before, and reads its labels.

    Raises:
        DataError: The library is missing, the hub has no such data set or cannot be reached, or a split or column is
            not there.
    """
    library = needed("datasets", "datasets", f"--data {spec}")
    name = spec.removeprefix(PREFIX)
    try:
        splits = library.load_dataset(name)
    except Exception as error:  # the library has dozens of kinds, of its own, of the hub's and of the network's
        raise DataError(f"the data set {name} cannot be loaded: {type(error).__name__}: {error}") from error
    validation_name = next((found for found in VALIDATION if found in splits), None)
    if "train" not in splits or validation_name is None:
        raise DataError(
            f"a data set has the split train and one of {', '.join(VALIDATION)}; {name} has {', '.join(splits)}."
        )
    train, label_column = _part(library, splits["train"], f"{name} train")
    validation, _ = _part(library, splits[validation_name], f"{name} {validation_name}")
    names = getattr(train.table.features[label_column], "names", None)
    return Source(
        kind="hfds",
        name=name,
        classes=tuple(names or (str(number) for number in range(int(train.labels.max()) + 1))),
        train=train,
        validation=validation,
        fingerprint=digest(_facts(name, train, validation)),
    )


def _part(library: Any, table: Any, where: str) -> tuple[Items, str]:
    image, label = find_columns(table.column_names, where)
    stored = table.cast_column(image, library.Image(decode=False))
    labels = np.array(table.select_columns([label]).with_format("numpy")[label][:], dtype=np.int64)
    return Items(table=stored, image_column=image, where=where, labels=labels), label


def _facts(name: str, train: Items, validation: Items) -> Iterator[str | bytes]:
    yield name
    yield train.labels.tobytes()
    yield validation.labels.tobytes()
