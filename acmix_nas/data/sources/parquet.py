"""A folder of Parquet files as Hugging Face lays them out, read in row groups and never whole."""

import io
import json
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from acmix_nas.data.draw import Indices
from acmix_nas.data.source import VALIDATION, Source, digest
from acmix_nas.data.sources._columns import find_columns
from acmix_nas.data.sources._optional import needed
from acmix_nas.errors import DataError

LAYOUT = (
    "a folder with train*.parquet and one of validation*.parquet, test*.parquet, in it or in its folder data/, with "
    "columns image and label"
)

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
        return Image.open(io.BytesIO(content))

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
    """Whether a folder has Parquet files to train on."""
    return bool(_files(Path(spec), ("train",)))


def open_source(spec: str) -> Source:
    """Reads labels and the places of row groups.

    Labels are class numbers with their names in the files' Hugging Face metadata, or class names themselves.

    Raises:
        DataError: pyarrow is missing, the validation files are, or a file is damaged or has other columns.
    """
    root = Path(spec)
    train_files, validation_files = _files(root, ("train",)), _files(root, VALIDATION)
    if not validation_files:
        raise DataError(f"a source is {LAYOUT}; {spec} has no files to validate on. Add them.")
    image_column, label_column, names = _describe(train_files[0])
    known: dict[str, int] = {}
    train = _list(train_files, image_column, label_column, known)
    validation = _list(validation_files, image_column, label_column, known)
    if known:
        order = sorted(known)
        number = np.array([order.index(name) for name in known], dtype=np.int64)
        train.labels, validation.labels, names = number[train.labels], number[validation.labels], order
    if names is None:
        names = [str(number) for number in range(int(max(train.labels.max(), validation.labels.max())) + 1)]
    return Source(
        kind="parquet",
        name=root.resolve().name,
        classes=tuple(names),
        train=train,
        validation=validation,
        fingerprint=digest(_facts(train, validation)),
    )


def _files(root: Path, prefixes: tuple[str, ...]) -> list[Path]:
    """The files of the first prefix that there are files of."""
    for prefix in prefixes:
        for folder in (root, root / "data"):
            if found := sorted(folder.glob(f"{prefix}*.parquet")):
                return found
    return []


def _open(file: Path) -> Any:
    pyarrow = needed("pyarrow", "pyarrow", "reading Parquet files")
    parquet = needed("pyarrow.parquet", "pyarrow", "reading Parquet files")
    try:
        return parquet.ParquetFile(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{file} cannot be read as a Parquet file: {error}. Is it whole? Download it again.") from error


def _describe(file: Path) -> tuple[str, str, list[str] | None]:
    """Columns of images and labels, and the names of the classes where Hugging Face's metadata have them."""
    with _open(file) as table:
        schema = table.schema_arrow
    image, label = find_columns(schema.names, str(file))
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return image, label, [str(name) for name in features[label]["names"]]
    except (TypeError, KeyError, ValueError):
        return image, label, None


def _list(files: list[Path], image_column: str, label_column: str, known: dict[str, int]) -> Rows:
    groups: list[tuple[int, int]] = []
    counts: list[int] = []
    labels = array("q")
    for number, file in enumerate(files):
        with _open(file) as table:
            groups += [(number, group) for group in range(table.num_row_groups)]
            counts += [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
            for value in _labels(table, label_column):
                labels.append(value if isinstance(value, int) else known.setdefault(str(value), len(known)))
    return Rows(
        files=files,
        image_column=image_column,
        groups=groups,
        ends=np.cumsum(counts, dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
    )


def _labels(table: Any, column: str) -> Iterator[Any]:
    for batch in table.iter_batches(columns=[column]):
        values: Callable[[], list[Any]] = batch.column(0).to_pylist
        yield from values()


def _facts(train: Rows, validation: Rows) -> Iterator[str | bytes]:
    for rows in (train, validation):
        for file in rows.files:
            yield f"{file.name}\t{file.stat().st_size}\n"
        yield rows.labels.tobytes()
