"""Tables that `datasets` reads, from a folder of Parquet files that it wrote itself."""

from pathlib import Path
from typing import Any

import pytest
from data_trees import packed

from acmix_nas.data import describe, load_splits, open_source
from acmix_nas.errors import DataError

datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path.with_name(f"{tmp_path.name}-cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def write(root: Path, labels: list[Any], kind: Any, *, image: Any = None, images: list[Any] | None = None) -> str:
    """A folder with a train and a validation table of these labels."""
    features = datasets.Features({"image": image or datasets.Image(), "label": kind})
    for number, part in enumerate(("train", "validation")):
        made = [{"bytes": packed(10 * number + index), "path": None} for index in range(len(labels))]
        table = datasets.Dataset.from_dict({"image": images or made, "label": labels}, features=features)
        table.to_parquet(root / f"{part}.parquet")
    return f"hfds/{root}"


def value(kind: str) -> Any:
    return datasets.Value(kind)


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool", "names", "string", "large_string"])
def test_numbers_and_names_are_read(tmp_path, kind):
    labels = ["bee", "ant"] * 6 if "string" in kind else [1, 0] * 6
    spec = write(tmp_path, labels, datasets.ClassLabel(names=["ant", "bee"]) if kind == "names" else value(kind))
    source = open_source(spec)
    assert source.classes == (("0", "1") if kind in ("int64", "uint8", "bool") else ("ant", "bee"))
    assert source.train.labels.tolist() == [1, 0] * 6
    assert source.train.open(3).tobytes() == open_source(tmp_path).train.open(3).tobytes()
    assert load_splits(spec, input_size=5, train_images=None, seed=0, with_report=True).skipped == ()


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ([0, None] * 6, "int64", r"row 1 of .* train has none"),
        (["a", None] * 6, "string", r"row 1 of .* train has none"),
        ([0, 10**8] * 6, "int64", r"0 to 999,999; row 1 of .* train has 100000000"),
        ([0.0, float("nan")] * 6, "float32", r"ClassLabel, an integer or a string; .* label of .* train is Value"),
        (["a", " "] * 6, "string", r"a class has a name; row 1 of .* has ' '"),
    ],
)
def test_other_labels_are_refused_by_name(tmp_path, labels, kind, message):
    with pytest.raises(DataError, match=message):
        open_source(write(tmp_path, labels, value(kind)))


def test_images_may_be_bytes_alone_but_no_paths(tmp_path):
    labels = [0, 1] * 6
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    source = open_source(write(tmp_path / "a", labels, value("int64"), image=value("binary"), images=[packed(1)] * 12))
    assert source.train.open(0).size == (11, 7)
    with pytest.raises(DataError, match=r"type Image or binary; the column image of .* train is Value\('string'\)"):
        open_source(write(tmp_path / "b", labels, value("int64"), image=value("string"), images=["0.png"] * 12))


def test_rows_without_an_image_are_broken(tmp_path):
    rows = [{"bytes": packed(n), "path": None} for n in range(10)] + [None, {"bytes": b"no image", "path": None}]
    found = describe(open_source(write(tmp_path, [0, 1] * 6, value("int64"), images=rows)))
    assert [reason.split(":")[0] for _, reason in found.broken] == ["OSError", "UnidentifiedImageError"] * 2
    assert found.sampled == 24


def test_changed_content_of_the_same_size_is_another_source(tmp_path):
    contents = [packed(number) for number in range(12)]
    changed = [*contents]
    changed[5] = contents[5][:-20] + bytes([contents[5][-20] ^ 1]) + contents[5][-19:]
    marks = []
    for name, some in (("a", contents), ("b", contents), ("c", changed)):
        (tmp_path / name).mkdir()
        rows = [{"bytes": content, "path": None} for content in some]
        marks.append(open_source(write(tmp_path / name, [0, 1] * 6, value("int64"), images=rows)).fingerprint)
    assert marks[0].startswith("2:")
    assert marks[0] == marks[1] != marks[2]


@pytest.mark.parametrize("has_test", [False, True])
def test_a_share_is_held_out_where_no_split_has_labels(tmp_path, has_test):
    spec = write(tmp_path, [0, 1] * 10, value("int64"))
    (tmp_path / "validation.parquet").unlink()
    if has_test:
        features = datasets.Features({"image": datasets.Image(), "label": value("int64")})
        rows = {"image": [{"bytes": packed(99), "path": None}], "label": [-1]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "test.parquet")
    source = open_source(spec)
    assert (len(source.train.labels), len(source.validation.labels)) == (16, 4)
    assert source.validation.labels.tolist().count(0) == 2
    assert any("all its labels are -1" in note for note in source.notes) is has_test
