"""Images with a table of their labels: CSV, TSV or JSON lines, as Hugging Face's imagefolder and Kaggle have them."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from acmix_nas.data.formats import EXTENSIONS
from acmix_nas.data.source import VALIDATION, Source
from acmix_nas.data.sources import published
from acmix_nas.data.sources._listed import Listing, read_lines, read_text
from acmix_nas.data.sources._parts import TRAIN, base_of, class_folders, find_part, loose_images
from acmix_nas.errors import DataError

IMAGE = (
    "file_name",
    "filename",
    "file",
    "image",
    "image_path",
    "path",
    "filepath",
    "image_id",
    "image_name",
    "img",
    "id",
)
LABEL = ("label", "class", "category", "label_name", "class_name", "species", "breed", "target", "wnid", "class_id")
SPLIT = ("split", "subset", "set")
KINDS = (".csv", ".tsv", ".jsonl")
WHOLE = ("metadata", "labels", "annotations")
"""Names of tables that are not of one part."""
LAYOUT = (
    "images with a table of labels: train.csv and val.csv, metadata.csv or metadata.jsonl in the folder or in those of "
    f"its parts, or labels.csv; with one of the columns {', '.join(IMAGE)} and one of {', '.join(LABEL)}"
)

_LONGEST = 2**16
"""Bytes of a heading."""
_FOLDERS = ("", "images", "image", "img", "imgs", "data", "jpg")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of images.

    Attributes:
        file: Where it is.
        part: "train", a name of `VALIDATION`, or "" where rows of all parts are in it.
        columns: Names of its columns.
    """

    file: Path
    part: str
    columns: tuple[str, ...]

    def column(self, names: Sequence[str]) -> str | None:
        """The first of some columns that it has."""
        has = {name.strip().lower(): name for name in self.columns}
        return next((has[name] for name in names if name in has), None)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(file, class, split) of each row.

        Raises:
            DataError: A row has no file or label, or is none.
        """
        image, label, split = (self.column(names) for names in (IMAGE, LABEL, SPLIT))
        assert image is not None, "it was looked for before"
        assert label is not None, "it was looked for before"
        for number, row in enumerate(_records(self.file), 1):
            values = [row.get(name) for name in (image, label)]
            if any(value is None or isinstance(value, dict | list | float) for value in values):
                raise DataError(
                    f"each row has a file and a class, which is a name or a whole number; row {number} of {self.file} "
                    f"has {values[0]!r} and {values[1]!r}. Correct it, or leave it out."
                )
            file = str(values[0]).strip()
            if not Path(file).parts:
                raise DataError(f"each row names a file; row {number} of {self.file} names none. Correct it.")
            yield file, str(values[1]).strip(), str(row.get(split) or "").lower() if split else ""


def matches(spec: str) -> bool:
    """Whether there is a table, and no class folders of a train part."""
    root = Path(spec)
    if not root.is_dir() or published.matches(spec):
        return False
    train = find_part(base_of(root), TRAIN)
    if train is not None and loose_images(train) is None and class_folders(train):
        return False
    tables = find_tables(root) or find_tables(base_of(root))
    return any(table.part in ("", "train") for table in tables if _is_labelled(table))


def open_source(spec: str) -> Source:
    """Reads the tables.

    Raises:
        DataError: A row is none, an image is in two parts, or the images are not there.
    """
    root = Path(spec)
    listing, tables = Listing(root), find_tables(root) or find_tables(base_of(root))
    labelled = {table.part: table for table in tables if _is_labelled(table)}
    if "train" not in labelled:
        _add_whole(listing, labelled[""])
        return listing.source("table", spec)
    for table in tables:
        if table.part and table.part not in labelled:
            listing.notes.append(f"{table.file.name} is skipped: it has no column of labels")
    labelled.pop("", None)
    _add_parts(listing, labelled)
    return listing.source("table", spec)


def find_tables(root: Path) -> list[Table]:
    """The tables of a folder, each part's first."""
    found = []
    names = {"train": TRAIN, **{name: (name,) for name in VALIDATION}}
    for part, spelled in names.items():
        folder = find_part(root, spelled)
        places = [root / f"{name}{end}{kind}" for name in spelled for end in ("", "_labels") for kind in KINDS]
        places += [folder / f"metadata{kind}" for kind in KINDS] if folder else []
        found += [Table(file, part, _columns(file)) for file in places if file.is_file()][:1]
    places = [root / f"{name}{kind}" for name in WHOLE for kind in KINDS]
    return found + [Table(file, "", _columns(file)) for file in places if file.is_file()][:1]


def _is_labelled(table: Table) -> bool:
    return table.column(IMAGE) is not None and table.column(LABEL) is not None


def _add_parts(listing: Listing, tables: dict[str, Table]) -> None:
    """Tables of parts: the first of the validation part is taken; of parts without a common class, all are one."""
    labels = {part: {label for _, label, _ in table.rows()} for part, table in tables.items()}
    validation = next((name for name in VALIDATION if name in tables), None)
    is_few_shot = validation is not None and not labels["train"] & labels[validation]
    for part, table in tables.items():
        if part != "train" and part != validation and not is_few_shot:
            listing.notes.append(f"{table.file.name} is not read: {validation} is the part to validate on")
            continue
        rows = [(file, label) for file, label, _ in table.rows()]
        into = "train" if part == "train" or is_few_shot else "validation"
        folder, end = _place(table.file.parent, part, rows)
        listing.add(into, folder, ((file + end, label) for file, label in rows), table.file)
    if is_few_shot:
        listing.notes.append(
            f"{', '.join(table.file.name for table in tables.values())} have no class in common, as in few-shot "
            "learning; their images are merged"
        )


def _add_whole(listing: Listing, table: Table) -> None:
    """One table: a column, or the first folder of each file, may say the part; else a share is held out."""
    rows = [*table.rows()]
    if not rows:
        raise DataError(f"{listing.root} has a table of images without rows.")
    folder, end = _place(table.file.parent, "train", [(file, label) for file, label, _ in rows])
    parts = [split or Path(file).parts[0].lower() for file, _, split in rows]
    validation = next((name for name in VALIDATION if name in parts), None)
    into: dict[str, list[tuple[str, str]]] = {"train": [], "validation": []}
    if validation is None or not {*TRAIN} & {*parts}:
        into["train"] = [(file + end, label) for file, label, _ in rows]
    else:
        for part, (file, label, _) in zip(parts, rows, strict=True):
            if part in (*TRAIN, validation):
                into["train" if part in TRAIN else "validation"].append((file + end, label))
        if left_out := {*parts} - {*TRAIN, validation}:
            listing.notes.append(f"{table.file.name} has rows of {', '.join(sorted(left_out))}, which are not read")
    for part, some in into.items():
        listing.add(part, folder, some, table.file)


def _place(base: Path, part: str, rows: list[tuple[str, str]]) -> tuple[Path, str]:
    """The folder that files of a table are relative to, and what their names lack: publishers leave .jpg out."""
    folders = [base / inside for inside in (*_FOLDERS, part, f"{part}/images", f"{part}_images")]
    ends = ["", *sorted({variant for end in EXTENSIONS for variant in (end, end.upper())})]
    for name, _ in rows[:20]:
        for folder in folders:
            for end in ends:
                if (folder / f"{name}{end}").is_file():
                    return folder, end
    return base, ""


def _columns(file: Path) -> tuple[str, ...]:
    """Names of the columns; none where the file is no table."""
    try:
        with file.open("rb") as stream:
            first = stream.readline(_LONGEST).decode("utf-8-sig").strip("\r\n")
        if file.suffix == ".jsonl":
            row = json.loads(first)
            return tuple(row) if isinstance(row, dict) else ()
        return tuple(next(csv.reader([first], delimiter=_mark(first)), ()))
    except (OSError, ValueError, RecursionError, csv.Error):
        return ()


def _records(file: Path) -> Iterator[Mapping[str, object]]:
    """Rows as {column: value}."""
    if file.suffix == ".jsonl":
        for number, line in enumerate(read_lines(file), 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"each line of {file} is a JSON object; line {number} is none: {error}.") from error
            if not isinstance(row, dict):
                raise DataError(f"each line of {file} is a JSON object; line {number} is {line[:40]!r}.")
            yield row
        return
    text = read_text(file)
    try:
        yield from csv.DictReader(io.StringIO(text), delimiter=_mark(text.partition("\n")[0]))
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as a table: {error}.") from error


def _mark(heading: str) -> str:
    """What stands between columns: a comma, a tab, or a semicolon, as spreadsheets of many countries write it."""
    return max(",\t;", key=heading.count)
