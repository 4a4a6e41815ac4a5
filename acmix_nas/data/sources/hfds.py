"""A data set of the Hugging Face hub, or any folder that `datasets.load_dataset` takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from acmix_nas.data.draw import Indices
from acmix_nas.data.fingerprint import Content, fingerprint, read_file, size_of
from acmix_nas.data.formats import open_image
from acmix_nas.data.source import VALIDATION, Source, digest, divided
from acmix_nas.data.sources._labels import find_columns, in_words, needed, number_labels, settle
from acmix_nas.errors import DataError

PREFIX = "hfds/"
LAYOUT = "hfds/NAME, a data set of the Hugging Face hub, which is downloaded"


@dataclass(slots=True, kw_only=True)
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
            return open_image(value["bytes"])
        if value and value["path"]:
            return open_image(Path(value["path"]))
        raise OSError("the row has neither bytes nor the path of an image")

    def content(self) -> Content:
        """What a fingerprint sees: the image of each row, in bytes or in the file that the row names."""
        compute = needed("pyarrow.compute", self.where)
        stored = self.table.data.column(self.image_column)
        sizes = compute.fill_null(compute.binary_length(compute.struct_field(stored, "bytes")), -1).to_numpy()
        sizes = sizes.astype(np.int64)
        for index in np.flatnonzero(sizes < 0).tolist():
            sizes[index] = size_of((self.table[index][self.image_column] or {}).get("path") or "")
        return Content(labels=self.labels, names=(), sizes=sizes, read=self._bytes)

    def _bytes(self, index: int) -> bytes:
        value = self.table[index][self.image_column] or {}
        found: bytes = value.get("bytes") or read_file(value.get("path") or "")
        return found


def matches(spec: str) -> bool:
    """Whether the prefix says so."""
    return spec.startswith(PREFIX) and len(spec) > len(PREFIX)


def open_source(spec: str) -> Source:
    """Downloads the data set where that was not done before, and reads its labels.

    Raises:
        DataError: The library is missing, the hub has no such data set or cannot be reached, or a split or column is
            not there.
    """
    library = needed("datasets", f"--data {spec}")
    name = spec.removeprefix(PREFIX)
    try:
        splits = library.load_dataset(name)
    except Exception as error:  # the library has dozens of kinds, of its own, of the hub's and of the network's
        raise DataError(f"the data set {name} cannot be loaded: {type(error).__name__}: {error}") from error
    validation_name = next((found for found in VALIDATION if found in splits), None)
    if "train" not in splits:
        raise DataError(f"a data set has the split train; {name} has {', '.join(splits)}.")
    known: dict[str, int] = {}
    train_items, numbers = _part(library, splits["train"], f"{name} train", known)
    parts = [train_items]
    if validation_name is not None:
        others, other_numbers = _part(library, splits[validation_name], f"{name} {validation_name}", known)
        if numbers != other_numbers:
            raise DataError(
                f"the splits of a data set name their classes alike; {name} has {in_words(numbers)} in train, "
                f"{in_words(other_numbers)} in {validation_name}. Choose another data set, or write it again."
            )
        parts.append(others)
    classes = settle(parts, numbers, known)
    train, validation, notes = divided(parts[0], parts[1] if len(parts) > 1 else None, name)
    return Source(
        kind="hfds",
        name=name,
        classes=classes,
        train=train,
        validation=validation,
        fingerprint=fingerprint(classes, [part.content() for part in parts]),
        former=digest([name, *(part.labels.tobytes() for part in parts)]),
        notes=notes,
    )


def _part(library: Any, table: Any, where: str, known: dict[str, int]) -> tuple[Items, tuple[str, ...] | None]:
    """A split, and the names of its class numbers: () where they have none, None where its labels are names."""
    image, label = find_columns(table.column_names, where)
    kind, image_kind = table.features[label], table.features[image]
    if not isinstance(image_kind, library.Image) and "binary" not in str(getattr(image_kind, "dtype", "")):
        raise DataError(
            f"images are of the type Image or binary; the column {image} of {where} is {image_kind}. Cast it."
        )
    dtype = str(getattr(kind, "dtype", ""))
    if not isinstance(kind, library.ClassLabel) and not dtype.startswith(
        ("int", "uint", "bool", "string", "large_string")
    ):
        raise DataError(
            f"a label is a ClassLabel, an integer or a string; the column {label} of {where} is {kind}. Cast it."
        )
    is_text = "string" in dtype
    values = table.select_columns([label]).with_format("arrow")[:].column(0).to_pylist()
    items = Items(
        table=table.cast_column(image, library.Image(decode=False)),
        image_column=image,
        where=where,
        labels=number_labels(values, known if is_text else None, where),
    )
    return items, None if is_text else tuple(getattr(kind, "names", None) or ())
