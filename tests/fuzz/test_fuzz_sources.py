"""Sources of images of unknown origin: what is listed is all there is, or an error; what is broken has a reason."""

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from data_kinds import as_shards, as_tar_of_each_part
from data_trees import files, make_folder, make_tar, packed, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pieces import CORPUS, law

from acmix_nas.data import describe, open_source
from acmix_nas.data.formats import FORMATS
from acmix_nas.data.sources._tar import members

FILES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)
TREE = files(train=4, validation=2)


def patched(content: bytes, start: int, new: bytes) -> bytes:
    return content[:start] + new + content[start + len(new) :]


def made(make: Callable[..., str], folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    make(folder, TREE)
    return folder


@pytest.mark.parametrize("file", sorted((CORPUS / "tars").iterdir()), ids=lambda file: file.stem)
def test_tar_files_that_are_meant_to_fail(file):
    assert law(lambda: [*members(file)]) in (None, [])


def test_a_chain_of_headers_that_announce_headers_ends(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    tar = tmp_path / "a.tar"
    tar.write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 3000)
    assert law(lambda: [*members(tar)]) is None


@FILES
@given(bit=st.integers(0, 8 * 4 * 1024 - 1))
def test_a_tar_file_with_one_bit_changed_has_all_its_members_or_none(tmp_path, bit):
    tar = make_tar(tmp_path / "a.tar", {f"a/{number}.jpg": packed(number) for number in range(4)})
    whole = [*members(tar)]
    content = bytearray(tar.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    tar.write_bytes(content)
    assert law(lambda: [*members(tar)]) in (None, whole)


@FILES
@given(length=st.integers(0, 7 * 1024))
def test_a_tar_file_cut_anywhere_has_all_its_members_or_none(tmp_path, length):
    tar = make_tar(tmp_path / "a.tar", {f"a/{number}.jpg": packed(number) for number in range(4)})
    whole = [*members(tar)]
    os.truncate(tar, length)
    assert law(lambda: [*members(tar)]) in (None, whole)


@FILES
@given(
    kind=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    start=st.integers(0, 6000),
    new=st.binary(max_size=30),
)
def test_a_tar_file_with_some_bytes_changed_ends(tmp_path, kind, start, new):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for number in range(3):
            archive.addfile(tarfile.TarInfo(f"{'é' * 90}/{number}.jpg"))
    tar = tmp_path / "a.tar"
    tar.write_bytes(patched(buffer.getvalue(), start, new))
    law(lambda: [*members(tar)])


names = st.text(
    st.sampled_from("ab01./_") | st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12
)
labels = st.binary(max_size=8) | st.integers().map(lambda number: str(number).encode())


@FILES
@given(
    content=st.dictionaries(
        st.builds(
            "{}{}".format, names, st.sampled_from(["", ".jpg", ".cls", ".png", ".tar", ".0.jpg", ".JPG", ".json"])
        ),
        labels,
        max_size=5,
    ),
    make=st.sampled_from([as_shards, as_tar_of_each_part]),
)
def test_anything_as_members_of_a_tar_file(tmp_path, content, make):
    root = made(make, tmp_path / "source")
    make_tar(sorted(root.glob("*train*.tar"))[-1], content)
    law(lambda: describe(open_source(root)))


@FILES
@given(start=st.integers(0, 4000), new=st.binary(min_size=1, max_size=12))
def test_a_parquet_file_with_some_bytes_changed(tmp_path, start, new):
    for part in ("train", "test"):
        images = pyarrow.array([{"bytes": packed(number), "path": "x"} for number in range(4)])
        table = pyarrow.table({"image": images, "label": ["a", "b"] * 2})
        pyarrow.parquet.write_table(table, tmp_path / f"{part}.parquet", write_page_checksum=start % 2 == 0)
    file = tmp_path / "train.parquet"
    content = file.read_bytes()
    file.write_bytes(patched(content, start % len(content), new)[: len(content)])
    law(lambda: describe(open_source(tmp_path)))


cells = (
    st.none()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-2, 3)
    | st.floats()
    | st.text(max_size=3)
    | st.booleans()
)


@FILES
@given(rows=st.lists(cells, max_size=4), more=st.lists(cells, max_size=4))
def test_anything_as_labels_of_a_table(tmp_path, rows, more):
    for part, values in (("train", rows), ("test", more)):
        try:
            column = pyarrow.array(values)
        except (pyarrow.ArrowException, OverflowError):
            return
        images = pyarrow.array([{"bytes": packed(1), "path": "x"}] * len(values), type=IMAGE)
        pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": column}), tmp_path / f"{part}.parquet")
    source = law(lambda: open_source(tmp_path))
    if source is not None:
        assert [source.classes[label] for label in source.train.labels] == [
            str(int(v) if v in (0, 1) else v) for v in rows
        ]


IMAGE = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})


def saved(kind: str) -> bytes:
    buffer = io.BytesIO()
    picture(5).save(buffer, kind)
    return buffer.getvalue()


@FILES
@given(kind=st.sampled_from([*FORMATS]), data=st.data(), new=st.binary(min_size=1, max_size=20))
def test_an_image_with_some_bytes_changed_is_read_or_broken(tmp_path, kind, data, new):
    content = saved(kind)
    start = data.draw(st.integers(0, len(content) - 1))
    root = made(make_folder, tmp_path / "source")
    (root / "train" / "ant" / f"odd{FORMATS[kind][0]}").write_bytes(patched(content, start, new))
    found = describe(open_source(root))
    assert len(found.broken) + sum(found.formats.values()) == found.sampled == 19


places = st.sampled_from(
    ["train/ant/x", "train/bee/x.png", "train/x", "val/cow/x.png", "val/ant/x", "x", "train/ant/y"]
)
targets = st.sampled_from(
    [".", "..", "../..", "/", "train", "val", "train/ant", "val/bee", "train/ant/0.png", "x", "val/cow/1.png"]
)


@FILES
@given(links=st.dictionaries(places, targets, max_size=4))
def test_each_file_is_read_once_with_any_links(tmp_path, links):
    root = made(make_folder, tmp_path / "source")
    for place, target in links.items():
        (root / place).symlink_to(target if target[0] in "./" else root / target)
    source = law(lambda: open_source(root))
    if source is not None:
        parts = [[Path(part.name(i)) for i in range(len(part.labels))] for part in (source.train, source.validation)]
        real = [path.resolve() for part in parts for path in part if path.exists()]
        assert len({*real}) == len(real)
        for label, path in zip(source.train.labels, parts[0], strict=True):
            assert path.parent.name == source.classes[label]
