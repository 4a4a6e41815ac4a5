"""Labels of tables: numbers or names, of every row, and the same in every file; all else is refused by name."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from data_kinds import as_parquet
from data_trees import CLASSES, packed

from acmix_nas.data import load_splits, open_source
from acmix_nas.errors import DataError

IMAGES = pyarrow.array([{"bytes": packed(number), "path": f"{number}.png"} for number in range(4)])


def write(file: Path, labels: pyarrow.Array, names: object = None, **columns: pyarrow.Array) -> None:
    table = pyarrow.table({"image": IMAGES[: len(labels)], "label": labels, **columns})
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, file)


def write_parts(root: Path, *labels: pyarrow.Array, names: tuple[object, ...] = (None, None)) -> Path:
    """Train files of the labels but the last, which are the validation file's."""
    for number, values in enumerate(labels[:-1]):
        write(root / f"train-{number}.parquet", values, names[min(number, len(names) - 1)])
    write(root / "validation.parquet", labels[-1], names[-1])
    return root


TEXT = ["bee", "ant", "bee", "ant"]
NUMBERS = [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        *((NUMBERS, kind) for kind in (pyarrow.int8(), pyarrow.int64(), pyarrow.uint16(), pyarrow.uint64())),
        ([True, False, True, False], pyarrow.bool_()),
        (NUMBERS, pyarrow.dictionary(pyarrow.int8(), pyarrow.int64())),
    ],
    ids=str,
)
def test_class_numbers_of_every_integer_type_are_read(tmp_path, values, kind):
    labels = pyarrow.array(values, kind)
    source = open_source(write_parts(tmp_path, labels, labels))
    assert source.classes == ("0", "1")
    assert source.train.labels.tolist() == NUMBERS
    assert load_splits(tmp_path, input_size=5, train_images=None, seed=0, with_report=True).skipped == ()


@pytest.mark.parametrize(
    "kind",
    [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())],
    ids=str,
)
def test_class_names_of_every_type_of_text_are_read(tmp_path, kind):
    labels = pyarrow.array(TEXT, kind)
    source = open_source(write_parts(tmp_path, labels, labels))
    assert source.classes == ("ant", "bee")
    assert source.train.labels.tolist() == NUMBERS


REFUSED = {
    "null number": (pyarrow.array([1, 0, None, 0]), r"row 2 of .*train-0\.parquet has none"),
    "null name": (pyarrow.array(["a", None, "b", "a"]), r"row 1 of .*train-0\.parquet has none"),
    "all null": (pyarrow.array([None] * 4, pyarrow.int64()), r"row 0 of .* has none"),
    "null type": (pyarrow.nulls(4), r"the column label of .*train-0\.parquet is null\. Convert it"),
    "nan": (pyarrow.array([0.0, float("nan"), 1.0, 0.0]), r"the column label of .* is double\. Convert"),
    "float": (pyarrow.array([0.0, 1.0, 1.0, 0.0]), r"class number \(an integer\) .* is double\. Convert"),
    "large": (pyarrow.array([0, 10**8, 1, 0]), r"0 to 999,999; row 1 of .*train-0\.parquet has 100000000"),
    "uint64": (pyarrow.array([0, 1, 2**64 - 1, 0], pyarrow.uint64()), r"row 2 of .* has 18446744073709551615"),
    "negative": (pyarrow.array([0, -5, 1, 0]), r"row 1 of .* has -5"),
    "no label": (pyarrow.array([0, -1, 1, 0]), r"A part without labels \(-1\) cannot be used"),
    "empty name": (pyarrow.array(["a", "b", " ", "a"]), r"a class has a name; row 2 of .* has ' '"),
    "struct": (pyarrow.array([{"a": 1}] * 4), r"the column label of .* is struct<a: int64>"),
    "list": (pyarrow.array([[1], [0]] * 2), r"the column label of .* is list<"),
    "date": (pyarrow.array([1, 2, 3, 4], pyarrow.timestamp("s")), r"the column label of .* is timestamp"),
    "bytes": (pyarrow.array([b"a", b"b"] * 2), r"the column label of .* is binary"),
    "no rows": (pyarrow.array([], pyarrow.int64()), r"each part of a source has images; .* has no train image"),
    "no named rows": (pyarrow.array([], pyarrow.string()), r"each part of a source has images; .* has no train image"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_labels_are_refused_by_name(tmp_path, kind):
    labels, message = REFUSED[kind]
    with pytest.raises(DataError, match=message):
        open_source(write_parts(tmp_path, labels, labels))


def test_a_validation_file_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no validation image"):
        open_source(write_parts(tmp_path, pyarrow.array(NUMBERS), pyarrow.array([], pyarrow.int64())))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            (["ant", "bee"], ["bee", "ant"]),
            r"train-0\.parquet has .* named ant, bee, .*train-1\.parquet has .* bee, ant",
        ),
        ((["ant", "bee"], None), r"train-1\.parquet has image and label with class numbers without names"),
        ((None, ["ant", "bee"]), r"train-0\.parquet has image and label with class numbers without names"),
        ((["ant", "bee"], ["ant", "bee", "cow"]), r"named ant, bee, cow\. Write them again"),
    ],
)
def test_files_that_name_their_classes_otherwise_are_refused(tmp_path, names, message):
    labels = pyarrow.array(NUMBERS)
    with pytest.raises(DataError, match=message):
        open_source(write_parts(tmp_path, labels, labels, labels, names=(*names, names[0])))


def test_numbers_in_one_file_and_names_in_another_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"class numbers without names, .*validation\.parquet has .* class names"):
        open_source(write_parts(tmp_path, pyarrow.array(NUMBERS), pyarrow.array(TEXT)))


@pytest.mark.parametrize("names", ["abc", {"a": 1}, [1, 2], 7, [], [None, "a"]])
def test_names_that_are_no_list_of_texts_are_no_names(tmp_path, names):
    labels = pyarrow.array(NUMBERS)
    assert open_source(write_parts(tmp_path, labels, labels, names=(names, names))).classes == ("0", "1")


@pytest.mark.parametrize("metadata", [b"", b"[]", b"{", b"\xff", b"null", b"[" * 100_000])
def test_metadata_of_any_kind_are_no_names(tmp_path, metadata):
    for name in ("train.parquet", "test.parquet"):
        table = pyarrow.table({"image": IMAGES, "label": NUMBERS}).replace_schema_metadata({"huggingface": metadata})
        pyarrow.parquet.write_table(table, tmp_path / name)
    assert open_source(tmp_path).classes == ("0", "1")


@pytest.mark.parametrize("change", ["label missing", "image missing", "another label", "another image"])
def test_files_with_other_columns_are_refused(tmp_path, change):
    write_parts(tmp_path, pyarrow.array(NUMBERS), pyarrow.array(NUMBERS))
    columns = {"image": IMAGES, "label": pyarrow.array(NUMBERS)}
    what, how = change.split()[::-1] if "another" not in change else change.split()
    if what == "missing":
        del columns[how]
    else:
        columns[{"label": "labels", "image": "img"}[how]] = columns.pop(how)
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "train-1.parquet")
    with pytest.raises(DataError, match=r"train-1\.parquet has "):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "images",
    [
        pyarrow.array(["0.png", "1.png", "2.png", "3.png"]),
        pyarrow.array([{"path": "0.png"}] * 4),
        pyarrow.array([{"bytes": "text", "path": "0.png"}] * 4),
        pyarrow.array([[1, 2], [3]] * 2),
        pyarrow.array([1.0] * 4),
    ],
    ids=lambda array: str(array.type),
)
def test_images_that_are_no_bytes_are_refused(tmp_path, images):
    for part in ("train", "validation"):
        pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": NUMBERS}), tmp_path / f"{part}.parquet")
    with pytest.raises(DataError, match=r"images are bytes of files.*; the column image of .*train\.parquet is "):
        open_source(tmp_path)


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pyarrow.Table.from_arrays(
        [IMAGES, pyarrow.array(NUMBERS), pyarrow.array(NUMBERS)], ["image", "label", "label"]
    )
    for part in ("train", "validation"):
        pyarrow.parquet.write_table(table, tmp_path / f"{part}.parquet")
    with pytest.raises(DataError, match=r"one column of each name; .*train\.parquet has several label"):
        open_source(tmp_path)


def test_labels_whose_bytes_are_damaged_are_refused_and_not_guessed(tmp_path):
    labels = pyarrow.array([f"name{number}" for number in range(4)])
    write_parts(tmp_path, labels, labels)
    file = tmp_path / "train-0.parquet"
    content = bytearray(file.read_bytes())
    column = pyarrow.parquet.ParquetFile(file).metadata.row_group(0).column(2)
    start = column.dictionary_page_offset
    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"the labels of .*train-0\.parquet cannot be read: .*Download"):
        open_source(tmp_path)


def test_images_whose_bytes_are_damaged_are_broken(tmp_path):
    write_parts(tmp_path, pyarrow.array(NUMBERS), pyarrow.array(NUMBERS))
    file = tmp_path / "train-0.parquet"
    content = bytearray(file.read_bytes())
    column = pyarrow.parquet.ParquetFile(file).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 40] = bytes(40)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"at most 1% .* 4 of 8 are: .*train-0\.parquet, row 0 of group 0 \("):
        load_splits(tmp_path, input_size=5, train_images=None, seed=0, with_report=True)


def test_a_pipe_named_as_a_parquet_file_is_never_opened(tmp_path):
    write_parts(tmp_path, pyarrow.array(NUMBERS), pyarrow.array(NUMBERS))
    os.mkfifo(tmp_path / "train-1.parquet")
    with pytest.raises(DataError, match=r"regular files; .*train-1\.parquet is not one"):
        open_source(tmp_path)


def test_the_labels_of_every_file_are_those_of_its_rows(tmp_path):
    source = open_source(as_parquet(tmp_path))
    assert source.classes == CLASSES
    assert np.bincount(source.train.labels).tolist() == [12, 12, 12]
