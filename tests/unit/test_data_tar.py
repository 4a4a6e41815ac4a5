"""A tar file is read whole, or refused with the byte at which it is damaged."""

import gzip
import io
import itertools
import lzma
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from data_kinds import as_one_tar, as_shards, as_tar_of_each_class, as_tar_of_each_part, as_tar_of_tars
from data_trees import CLASSES, files, make_tar, packed

from acmix_nas.data import load_splits, open_source
from acmix_nas.data.sources._tar import members
from acmix_nas.errors import DataError

BLOCK = 512
KINDS = {
    "one tar": (as_one_tar, "all.tar"),
    "a tar of each part": (as_tar_of_each_part, "train.tar"),
    "a tar of each class": (as_tar_of_each_class, "train/bee.tar"),
    "shards": (as_shards, "set-train-0001.tar"),
}


def headers(tar: Path) -> list[int]:
    """The byte at which each member's header begins."""
    with tarfile.open(tar) as archive:
        return [info.offset for info in archive]


def flip(tar: Path, place: int) -> None:
    content = bytearray(tar.read_bytes())
    content[place] ^= 1
    tar.write_bytes(content)


def zero(tar: Path, place: int, count: int) -> None:
    content = bytearray(tar.read_bytes())
    content[place : place + count] = bytes(count)
    tar.write_bytes(content)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["flipped bit", "zeroed sector", "cut at a header", "cut before the end", "joined"])
def test_a_damaged_tar_file_is_refused_with_the_place(tmp_path, kind, damage):
    make, name = KINDS[kind]
    spec = make(tmp_path)
    tar = tmp_path / name
    place, whole = headers(tar)[4], tar.read_bytes()
    if damage == "flipped bit":
        flip(tar, place + 10)
    elif damage == "zeroed sector":
        zero(tar, place, BLOCK)
    elif damage == "cut at a header":
        tar.write_bytes(whole[:place])
    elif damage == "cut before the end":
        place = len(whole.rstrip(b"\0")) // BLOCK * BLOCK + BLOCK
        tar.write_bytes(whole[: place + BLOCK])
    else:
        place = len(whole)
        tar.write_bytes(whole + whole)
    with pytest.raises(DataError, match=rf"{name} cannot be read .* byte {place:,}"):
        open_source(spec)


def test_zeros_that_look_like_the_end_are_refused_where_more_follows(tmp_path):
    as_tar_of_each_part(tmp_path)
    first, second, *_ = headers(tmp_path / "train.tar")
    assert second - first == 2 * BLOCK
    zero(tmp_path / "train.tar", second, 2 * BLOCK)
    with pytest.raises(DataError, match=rf"ends before byte {second + 2 * BLOCK:,}, where more follows: .*concatenate"):
        open_source(tmp_path)


def test_a_damaged_inner_tar_file_is_refused_with_its_offset(tmp_path):
    as_tar_of_tars(tmp_path)
    tar = tmp_path / "train.tar"
    with tarfile.open(tar) as archive:
        inner = archive.getmember("bee.tar")
        with tarfile.open(fileobj=archive.extractfile(inner)) as inside:
            start = inner.offset_data + [info.offset for info in inside][3]
    flip(tar, start + 3)
    with pytest.raises(DataError, match=rf"byte {start:,}"):
        open_source(tmp_path)


def test_every_flipped_bit_of_a_header_is_found(tmp_path):
    tar = make_tar(tmp_path / "a.tar", {f"cat/{number}.png": packed(number) for number in range(4)})
    whole = [*members(tar)]
    place = headers(tar)[2]
    for byte in range(0, BLOCK, 7):
        flip(tar, place + byte)
        with pytest.raises(DataError, match=r"byte|checksum|header"):
            [*members(tar)]
        flip(tar, place + byte)
    assert [*members(tar)] == whole


def test_a_tar_file_cut_anywhere_is_refused(tmp_path):
    tar = make_tar(tmp_path / "a.tar", {f"cat/{number}.png": packed(number) for number in range(4)})
    whole = tar.read_bytes()
    used = len(whole.rstrip(b"\0"))
    for length in [*range(1, used, 173), *range(0, used + BLOCK, BLOCK)]:
        tar.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cannot be read as an uncompressed tar file"):
            [*members(tar)]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tar_with_long_names_is_read_to_its_end(tmp_path, kind):
    names = [f"{'long' * 20}/{'é' * 30}/{number}.png" for number in range(5)]
    with tarfile.open(tmp_path / "a.tar", "w", format=kind) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    assert [name for name, _, _ in members(tmp_path / "a.tar")] == names


@pytest.mark.parametrize("padding", [2, 20, 5000])
def test_any_number_of_zeros_may_follow(tmp_path, padding):
    tar = make_tar(tmp_path / "a.tar", {"cat/0.png": packed(0)})
    whole = tar.read_bytes().rstrip(b"\0")
    tar.write_bytes(whole + bytes(-len(whole) % BLOCK) + bytes(padding * BLOCK))
    assert len([*members(tar)]) == 1


@pytest.mark.parametrize(("pack", "name", "program"), [(gzip, "gz", "gunzip"), (lzma, "xz", "unxz")])
@pytest.mark.parametrize("kept", [True, False])
def test_a_compressed_tar_file_is_refused_with_the_fix(tmp_path, pack, name, program, kept):
    as_tar_of_each_part(tmp_path)
    for part in ("train", "val"):
        tar = tmp_path / f"{part}.tar"
        (tmp_path / f"{part}.tar{'' if kept else f'.{name}'}").write_bytes(pack.compress(tar.read_bytes()))
        if not kept:
            tar.unlink()
    with pytest.raises(DataError, match=rf"train\.tar.* is compressed\. Unpack it first: {program} .*train\.tar"):
        open_source(tmp_path)


def test_a_negative_size_ends_in_an_error_and_not_in_a_circle(tmp_path):
    tar = make_tar(tmp_path / "a.tar", {f"cat/{number}.png": packed(number) for number in range(3)})
    content, place = bytearray(tar.read_bytes()), headers(tar)[1]
    content[place + 124 : place + 136] = (-1024).to_bytes(12, "big", signed=True)
    total = sum(content[place : place + 148]) + 8 * 32 + sum(content[place + 156 : place + BLOCK])
    content[place + 148 : place + 156] = b"%06o\0 " % total
    tar.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        [*itertools.islice(members(tar), 20)]


@pytest.mark.parametrize("size", [b"\x80" + b"\x7f" * 11, b"77777777777\0", b"00000020000\0"])
def test_a_size_beyond_the_end_is_refused_by_name(tmp_path, size):
    as_tar_of_each_part(tmp_path)
    tar = tmp_path / "train.tar"
    content, place = bytearray(tar.read_bytes()), headers(tar)[-1]
    content[place + 124 : place + 136] = size
    total = sum(content[place : place + 148]) + 8 * 32 + sum(content[place + 156 : place + BLOCK])
    content[place + 148 : place + 156] = b"%06o\0 " % total
    tar.write_bytes(content[: place + 2 * BLOCK])
    with pytest.raises(DataError, match=r"truncated at byte .*, inside cow/11\.png"):
        open_source(tmp_path)


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    as_tar_of_each_part(tmp_path)
    with tarfile.open(tmp_path / "train.tar", "a") as archive:
        info = tarfile.TarInfo("ant/3.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"new"))
    with pytest.raises(DataError, match=r"once; .*train\.tar/ant/3\.png is there 2 times"):
        open_source(tmp_path)


def test_links_in_a_tar_file_are_counted(tmp_path):
    as_tar_of_each_part(tmp_path)
    with tarfile.open(tmp_path / "train.tar", "a") as archive:
        for name, kind in (("ant/90.png", tarfile.LNKTYPE), ("ant/91.png", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "ant/3.png"
            archive.addfile(info)
    source = open_source(tmp_path)
    assert len(source.train.labels) == 36
    assert source.passed_over == {"links or sparse files in a tar file": 2}


@pytest.mark.parametrize("kind", ["one tar", "a tar of each part", "a tar of each class"])
def test_other_files_in_a_tar_file_are_counted(tmp_path, kind):
    more = {"train/ant/notes.txt": b"x", "train/ant/list.txt": b"x", "train/ant/0.heic": b"x", "val/ant/._0.png": b"x"}
    source = open_source(KINDS[kind][0](tmp_path, {**files(), **more}))
    assert source.passed_over == {".txt": 2, ".heic": 1, "hidden": 1}
    assert (len(source.train.labels), len(source.validation.labels)) == (36, 6)


def test_images_outside_the_parts_of_a_tar_file_are_counted(tmp_path):
    source = open_source(as_one_tar(tmp_path, {**files(), "extra/ant/0.png": packed(1)}))
    assert source.passed_over == {"outside train, val, valid, validation, test": 1}


def test_two_folders_of_one_name_are_no_class(tmp_path):
    content = {f"train/{name}/same/{n}.png": packed(n) for n, name in enumerate("xy")}
    one = as_one_tar(tmp_path, {**content, "train/z/0.png": packed(7), "val/z/0.png": packed(8)})
    with pytest.raises(DataError, match=r"train part of .*all\.tar, x/same and y/same would both be the class same"):
        open_source(one)


def test_classes_are_tar_files_where_the_folders_in_them_have_one_name(tmp_path):
    for part, count in (("train", 4), ("val", 1)):
        for number, name in enumerate(CLASSES):
            inside = {f"images/{n}.png": packed(100 * number + n) for n in range(count)}
            make_tar(tmp_path / part / f"{name}.tar", inside)
    source = open_source(tmp_path)
    assert source.classes == CLASSES
    assert np.bincount(source.train.labels).tolist() == [4, 4, 4]


def test_a_class_may_be_spread_over_tar_files(tmp_path):
    for part in ("train", "val"):
        for shard in range(2):
            content = {f"{name}/{shard}.png": packed(shard + 10 * (part == "val")) for name in CLASSES}
            make_tar(tmp_path / part / f"{shard}.tar", content)
    source = open_source(tmp_path)
    assert source.classes == CLASSES
    assert np.bincount(source.train.labels).tolist() == [2, 2, 2]


@pytest.mark.parametrize("make", [as_tar_of_each_part, as_shards])
def test_one_file_under_two_names_is_refused(tmp_path, make):
    make(tmp_path)
    first, second = {as_tar_of_each_part: ("train.tar", "val.tar")}.get(
        make, ("set-train-0000.tar", "set-val-0000.tar")
    )
    (tmp_path / second).unlink()
    os.link(tmp_path / first, tmp_path / second)
    with pytest.raises(DataError, match=rf"{first} and .*{second} are one file\. Remove the link"):
        open_source(tmp_path)


def test_a_pipe_named_as_a_tar_file_is_never_opened(tmp_path):
    as_tar_of_each_class(tmp_path)
    os.mkfifo(tmp_path / "train" / "dog.tar")
    with pytest.raises(DataError, match=r"regular files; .*dog\.tar is not one"):
        open_source(tmp_path)


def test_a_tar_file_without_a_part_shows_what_it_has(tmp_path):
    make_tar(tmp_path / "a.tar", {"train/cat/0.png": packed(0), "train/cat/notes.txt": b"x"})
    with pytest.raises(
        DataError, match=r"no images for one of val, .* has 1 images for train, as .*a\.tar/train/cat/0\.png, and "
    ):
        open_source(tmp_path / "a.tar")
    make_tar(tmp_path / "b.tar", {"cat/notes.txt": b"x"})
    with pytest.raises(DataError, match=r"no images for train\. It has none for any part, and passed over 1 \.txt"):
        open_source(tmp_path / "b.tar")


def test_the_whole_tar_file_is_trained_on(tmp_path):
    splits = load_splits(as_one_tar(tmp_path), input_size=5, train_images=None, seed=0, with_report=True)
    assert splits.to_dict()["counts"] == {"train": 30, "search": 6, "report": 6}
    assert splits.notes == ()
