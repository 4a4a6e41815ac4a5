"""Each real folder and each real file is read once, and none in two parts, whatever links lead to it."""

import os
from pathlib import Path

import numpy as np
import pytest
from data_kinds import as_parquet_of_names
from data_trees import CLASSES, make_folder, packed

from acmix_nas.data import describe, load_splits, open_source, plan_subset, write_store
from acmix_nas.data.sources import _walk
from acmix_nas.errors import DataError


@pytest.fixture
def root(tmp_path) -> Path:
    return make_folder(tmp_path / "images")


def names(source, part: str = "train") -> list[str]:
    images = getattr(source, part)
    return [images.name(index) for index in range(len(images.labels))]


def link(at: Path, to: str | Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(to, target_is_directory=True)


@pytest.mark.parametrize("to", ["../..", ".", "..", "../../..", "/"])
def test_a_link_to_a_folder_above_is_not_followed(root, to):
    before = open_source(root)
    link(root / "train" / "ant" / "loop", to)
    after = open_source(root)
    assert names(after) == names(before)
    assert (after.classes, after.train.labels.tolist()) == (before.classes, before.train.labels.tolist())
    assert len(after.validation.labels) == 6
    [note] = after.notes
    assert "1 links in " in note
    assert note.endswith("are not followed: ant/loop")


def test_several_links_in_one_folder_end(root):
    for number in range(8):  # names without end: 8 ** 40 until the system refuses
        link(root / "train" / "ant" / f"self{number}", ".")
    source = open_source(root)
    assert len(source.train.labels) == 36
    assert source.notes[0].endswith("are not followed: ant/self0, ant/self1, ant/self2, ...")


def test_two_links_to_each_other_end(root):
    link(root / "train" / "ant" / "one", "two")
    link(root / "train" / "ant" / "two", "one")
    link(root / "train" / "bee" / "down", "../ant")
    link(root / "train" / "cow" / "up", "../bee/loops")
    link(root / "train" / "bee" / "loops", "../cow")
    with pytest.raises(DataError, match="are one folder"):
        open_source(root)
    (root / "train" / "bee" / "down").unlink()
    (root / "train" / "bee" / "loops").unlink()
    assert len(open_source(root).train.labels) == 36


def test_a_link_to_a_folder_outside_is_followed(root, tmp_path):
    make_folder(tmp_path / "elsewhere", {f"dog/{n}.png": packed(n) for n in range(4)})
    link(root / "train" / "dog", tmp_path / "elsewhere" / "dog")
    source = open_source(root)
    assert source.classes == (*CLASSES, "dog")
    assert np.bincount(source.train.labels).tolist() == [12, 12, 12, 4]
    assert source.notes == ()


def test_a_part_may_be_a_link(root, tmp_path):
    link(tmp_path / "linked" / "train", root / "train")
    link(tmp_path / "linked" / "val", root / "val")
    link(root / "train" / "ant" / "loop", tmp_path / "linked")
    source = open_source(tmp_path / "linked")
    assert (len(source.train.labels), len(source.validation.labels)) == (36, 6)


def test_the_working_folder_is_a_folder_like_others(root, tmp_path, monkeypatch):
    make_folder(tmp_path / "here", {f"{n}.png": packed(n) for n in range(4)})
    link(root / "train" / "dog", tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    assert np.bincount(open_source("../images").train.labels).tolist() == [12, 12, 12, 4]


def test_one_folder_under_two_class_names_is_refused(root):
    link(root / "train" / "wasp", "bee")
    with pytest.raises(DataError, match=r"one class; .*train/bee and .*train/wasp are one folder\. Remove the link"):
        open_source(root)


def test_one_folder_under_one_class_name_twice_is_read_once(root):
    link(root / "train" / "insects" / "bee", root / "train" / "bee")
    source = open_source(root)
    assert np.bincount(source.train.labels).tolist() == [12, 12, 12]
    assert source.notes[0].endswith("are not followed: insects/bee")


@pytest.mark.parametrize("part", ["val", "val/bee"])
def test_the_validation_folder_is_not_a_class(root, part):
    link(root / "train" / "bee" / "more", root / part)
    with pytest.raises(DataError, match=r"two parts of a source; (?=.*train/bee/more).*/val.* are one folder"):
        open_source(root)


def test_one_folder_as_both_parts_is_refused(root):
    link(root / "valid", "train")
    (root / "val").rename(root / "away")
    with pytest.raises(DataError, match=r"two parts of a source; .*valid and .*train are one folder"):
        open_source(root)


@pytest.mark.parametrize("make", [os.link, os.symlink])
def test_a_validation_image_that_is_a_training_image_is_refused(root, make):
    make(root / "train" / "bee" / "5.png", root / "val" / "bee" / "leak.png")
    with pytest.raises(
        DataError, match=r"two parts of a source; .*train/bee/5\.png and .*val/bee/leak\.png are one file"
    ):
        open_source(root)


@pytest.mark.parametrize("make", [os.link, os.symlink])
def test_one_file_under_two_names_of_a_class_is_one_image(root, make):
    before = open_source(root)
    make(root / "train" / "bee" / "5.png", root / "train" / "bee" / "50.png")
    make(root / "train" / "bee" / "0.png", root / "train" / "bee" / "51.png")
    after = open_source(root)
    assert names(after) == names(before)
    assert after.train.labels.tolist() == before.train.labels.tolist()
    assert after.notes[0].startswith("2 names in ")
    splits = load_splits(root, input_size=5, train_images=None, seed=0, with_report=True)
    pixels = [image.numpy().tobytes() for part in (splits.train, splits.search) for image in part.images]
    assert len({*pixels}) == len(pixels) == 36


@pytest.mark.parametrize("make", [os.link, os.symlink])
def test_one_file_in_two_classes_is_refused(root, make):
    make(root / "train" / "bee" / "5.png", root / "train" / "cow" / "50.png")
    with pytest.raises(DataError, match=r"one class; .*bee/5\.png and .*cow/50\.png are one file\. Remove one"):
        open_source(root)


def test_links_that_lead_nowhere_are_broken_images_and_not_the_same(root):
    for number in range(2):
        (root / "train" / "bee" / f"gone{number}.png").symlink_to("nowhere")
    found = describe(open_source(root))
    assert [Path(name).name for name, _ in found.broken] == ["gone0.png", "gone1.png"]
    assert all(reason.startswith("FileNotFoundError") for _, reason in found.broken)


def test_a_thousand_nested_folders_are_read(root, monkeypatch):
    monkeypatch.chdir(root / "train")
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    try:
        assert len(open_source(root).train.labels) == 36
    finally:  # shutil.rmtree, which pytest cleans up with, does not go as deep
        for _ in range(1200):
            os.chdir("..")
            Path("d").rmdir()


def test_a_folder_that_cannot_be_listed_is_an_error(root, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("train/bee"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(_walk.os, "scandir", scandir)
    with pytest.raises(DataError, match=r"train/bee cannot be listed: .*Permission denied"):
        open_source(root)


def test_a_subset_says_what_is_not_followed(root, tmp_path):
    link(root / "train" / "ant" / "self", ".")
    plan = plan_subset(open_source(root), size=5)
    assert plan.notes[0].endswith("are not followed: ant/self")
    assert write_store(plan, tmp_path / "store").images == {"train": 30, "search": 6, "report": 6}


def test_one_parquet_file_as_both_parts_is_refused(tmp_path):
    as_parquet_of_names(tmp_path)
    (tmp_path / "val.parquet").unlink()
    (tmp_path / "val.parquet").symlink_to("train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet and .*val\.parquet are one file"):
        open_source(tmp_path)
