"""A folder of Parquet files as Hugging Face lays them out, read in row groups and never whole."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from acmix_nas.data.draw import Indices
from acmix_nas.data.fingerprint import blocks_of_files, fingerprint
from acmix_nas.data.formats import open_image
from acmix_nas.data.source import VALIDATION, Source, digest, divided
from acmix_nas.data.sources._files import check_files, natural
from acmix_nas.data.sources._labels import find_columns, in_words, needed, number_labels, settle
from acmix_nas.data.sources._parts import subfolders
from acmix_nas.errors import DataError

LAYOUT = (
    "a folder with train*.parquet and one of validation*.parquet, test*.parquet, in it, in its folder data/ or in that "
    "of a configuration, or with these parts as folders of Parquet files, with columns image and label"
)

READING = "reading Parquet files"
_KEPT_GROUPS = 2
"""Row groups held in memory: threads that go through images in order stand in one or at the border of two."""


@dataclass(slots=True, kw_only=True)
class Rows:
    """Images in the rows of Parquet files.

    Attributes:
        files: The files.
        image_column: Name of the column of images: {bytes, path}, or bytes alone.
        groups: (file, row group) of each row group.
        ends: Number of rows up to the end of each row group.
        labels: Class of each row, (N,).
    """

    files: list[Path]
    image_column: str
    groups: list[tuple[int, int]]
    ends: Indices
    labels: Indices
    _cache: "OrderedDict[int, Any]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def name(self, index: int) -> str:
        """File and row."""
        group, row = self._place(index)
        file, number = self.groups[group]
        return f"{self.files[file]}, row {row} of group {number}"

    def open(self, index: int) -> Image.Image:
        """The image in a row."""
        group, row = self._place(index)
        value = self._read(group)[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not content:
            raise OSError("the row has no bytes of an image")
        return open_image(content)

    def facts(self) -> Iterator[str | bytes]:
        """How acmix-nas 0.1 identified these images."""
        for file in self.files:
            yield f"{file.name}\t{file.stat().st_size}\n"
        yield self.labels.tobytes()

    def _place(self, index: int) -> tuple[int, int]:
        group = int(np.searchsorted(self.ends, index, side="right"))
        return group, index - (int(self.ends[group - 1]) if group else 0)

    def _read(self, group: int) -> Any:
        with self._lock:
            if group not in self._cache:
                file, number = self.groups[group]
                with _open(self.files[file]) as table:
                    self._cache[group] = table.read_row_group(number, columns=[self.image_column]).column(0)
                while len(self._cache) > _KEPT_GROUPS:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(group)
            return self._cache[group]


def matches(spec: str) -> bool:
    """Whether a folder, or a configuration in it, has Parquet files to train on."""
    return bool(_configurations(Path(spec)))


def open_source(spec: str) -> Source:
    """Reads labels and the places of row groups.

    Labels are class numbers with their names in the files' Hugging Face metadata, or class names themselves.

    Raises:
        DataError: pyarrow is missing, the validation files are, or a file is damaged, has other columns or names than
            the first, or a row without a label.
    """
    root, *others = _configurations(Path(spec))
    if others:
        found = ", ".join(str(folder.relative_to(spec)) for folder in (root, *others))
        raise DataError(f"a source is one data set; {spec} has the configurations {found}. Name one: --data {root}")
    files = [_files(root, ("train",)), _files(root, VALIDATION)]
    check_files(*files[0], *files[1])
    columns = _agreed([*files[0], *files[1]])
    known: dict[str, int] = {}
    parts = [_list(some, columns, known) for some in files if some]
    names = settle(parts, columns.numbered, known)
    train, validation, notes = divided(parts[0], parts[1] if len(parts) > 1 else None, root.resolve().name)
    return Source(
        kind="parquet",
        name=Path(spec).resolve().name,
        classes=names,
        train=train,
        validation=validation,
        fingerprint=fingerprint(names, [blocks_of_files(root, part.files, part.labels) for part in parts]),
        former=digest(chain.from_iterable(part.facts() for part in parts)),
        notes=notes,
    )


def _configurations(root: Path) -> list[Path]:
    """The folders that have the files of a data set: this one, or those of its configurations."""
    if _files(root, ("train",)):
        return [root]
    return [folder for top in (root, root / "data") for folder in subfolders(top) if _files(folder, ("train",))]


def _files(root: Path, prefixes: tuple[str, ...]) -> list[Path]:
    """The files of the first prefix that there are files of."""
    for prefix in prefixes:
        for folder in (root, root / "data"):
            for pattern in (f"{prefix}*.parquet", f"{prefix}/*.parquet"):
                if found := natural(folder.glob(pattern)):
                    return found
    return []


def _open(file: Path) -> Any:
    pyarrow = needed("pyarrow", READING)
    parquet = needed("pyarrow.parquet", READING)
    try:
        return parquet.ParquetFile(file, page_checksum_verification=True)
    except (OSError, pyarrow.ArrowException) as error:
        why = " ".join(str(error).split())
        raise DataError(
            f"{file} cannot be read as a Parquet file: {why}. Is it complete? Download it again."
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """What the columns of a file are.

    Attributes:
        image: Name of that of images.
        label: Name of that of labels.
        numbered: Names of the class numbers in Hugging Face's metadata, () where there are none; None where labels are
            names.
    """

    image: str
    label: str
    numbered: tuple[str, ...] | None

    def __str__(self) -> str:
        return f"{self.image} and {self.label} with {in_words(self.numbered)}"


def _agreed(files: list[Path]) -> _Columns:
    """The columns of all files."""
    first = _columns(files[0])
    for file in files[1:]:
        if (other := _columns(file)) != first:
            raise DataError(
                f"the files of a source have the same columns and name their classes alike; {files[0]} has "
                f"{first}, {file} has {other}. Write them again."
            )
    return first


def _columns(file: Path) -> _Columns:
    with _open(file) as table:
        schema = table.schema_arrow
    image, label = find_columns(schema.names, str(file))
    is_text = _check_types(schema, image, label, file)
    return _Columns(image=image, label=label, numbered=None if is_text else _names(schema, label))


def _check_types(schema: Any, image: str, label: str, file: Path) -> bool:
    """Whether labels are names."""
    types = needed("pyarrow.types", READING)
    for name in (image, label):
        if schema.names.count(name) > 1:
            raise DataError(f"a table has one column of each name; {file} has several {name}. Rename them.")
    content = kind = schema.field(image).type
    if types.is_struct(kind):
        content = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else None
    if content is None or not (types.is_binary(content) or types.is_large_binary(content)):
        raise DataError(
            f"images are bytes of files, or a struct with such `bytes`; the column {image} of {file} is {kind}. Write "
            "the images into the table."
        )
    kind = schema.field(label).type
    value = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_integer(value) or types.is_boolean(value) or _is_text(types, value)):
        raise DataError(
            f"a label is a class number (an integer) or a class name (a string); the column {label} of {file} is "
            f"{kind}. Convert it."
        )
    return _is_text(types, value)


def _is_text(types: Any, kind: Any) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _names(schema: Any, label: str) -> tuple[str, ...]:
    """Names of the class numbers where Hugging Face's metadata have them."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (TypeError, LookupError, ValueError, RecursionError):
        return ()
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_list else ()


def _list(files: list[Path], columns: _Columns, known: dict[str, int]) -> Rows:
    pyarrow = needed("pyarrow", READING)
    groups: list[tuple[int, int]] = []
    counts: list[int] = []
    labels = [np.array([], dtype=np.int64)]
    for number, file in enumerate(files):
        with _open(file) as table:
            groups += [(number, group) for group in range(table.num_row_groups)]
            counts += [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
            row = 0
            try:
                for batch in table.iter_batches(columns=[columns.label]):
                    values: list[Any] = batch.column(0).to_pylist()
                    labels.append(number_labels(values, known if columns.numbered is None else None, str(file), row))
                    row += len(values)
            except (OSError, pyarrow.ArrowException) as error:
                why = " ".join(str(error).split())
                raise DataError(f"the labels of {file} cannot be read: {why}. Download it again.") from error
    rows = Rows(
        files=files,
        image_column=columns.image,
        groups=groups,
        ends=np.cumsum(counts, dtype=np.int64),
        labels=np.concatenate(labels),
    )
    if sum(counts) != len(rows.labels):
        raise DataError(f"a table has a label in each row; {files[0]} and what follows it have other numbers of them.")
    return rows
