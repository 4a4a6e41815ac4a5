"""Subsets of sources with masks: folders that are read back to the same pixels."""

import numpy as np
import pytest
from PIL import Image
from test_data_masks import drawn, mask, pairs_of, picture

from acmix_nas.data import open_source
from acmix_nas.data.subset_masks import write_masked_subset
from acmix_nas.errors import DataError

NAMES = "Idx\tRatio\tTrain\tVal\tName\n1\t0\t0\t0\twall\n2\t0\t0\t0\tbuilding, edifice\n3\t0\t0\t0\tsky\n"


def ade_of(root, train=8, validation=2):
    """ADE20K's layout: 0 is nothing, 1 to 3 the classes; no training image shows the sky."""
    for part, count in (("training", train), ("validation", validation)):
        for number in range(count):
            picture(root / "images" / part / f"ADE_{number}.jpg")
            mask(root / "annotations" / part / f"ADE_{number}.png", drawn(0, 1, 2, 2 if part == "training" else 3))
    (root / "objectInfo150.txt").write_text(NAMES)
    return root


def test_classes_are_numbered_anew_once_and_read_back_the_same(tmp_path):
    source = open_source(str(ade_of(tmp_path / "ADEChallengeData2016")))
    found = write_masked_subset(source, tmp_path / "out", images=4, search_images=2)
    assert found.images == {"train": 4, "search": 2, "val": 2}
    assert "1 of 3 classes have no pixel" in " ".join(found.notes)
    again = open_source(str(tmp_path / "out"))
    assert again.kind == "pairs"
    assert again.pixel_classes == source.pixel_classes
    assert [len(part.labels) for part in (again.train, again.search, again.validation)] == [4, 2, 2]
    for index in range(2):
        assert np.array_equal(again.validation.mask(index), source.validation.mask(index))
    assert set(np.unique(again.train.mask(0))) == {0, 1, 255}


def test_classes_that_training_does_not_show_are_left_out_where_asked(tmp_path):
    root = pairs_of(tmp_path / "pairs", 8)
    (root / "classes.txt").write_text("sky\nmoon\nsea\nland\n")
    for index in range(8):
        mask(root / "masks" / "train" / f"{index}.png", drawn(0, 2, 255))
        mask(root / "masks" / "val" / f"{index}.png", drawn(0, 1, 2, 3))
    source = open_source(str(root))
    found = write_masked_subset(source, tmp_path / "out", only_shown=True)
    assert found.classes == ("sky", "sea")
    assert found.notes[-1] == "2 classes that no image to train on shows are left out: moon, land"
    again = open_source(str(tmp_path / "out"))
    assert again.pixel_classes == ("sky", "sea")
    expected = np.array([0, 255, 1, 255], dtype=np.uint8)
    assert np.array_equal(again.validation.mask(0), expected[source.validation.mask(0)])
    with pytest.raises(DataError, match="another command"):
        write_masked_subset(source, tmp_path / "out")


def test_splits_are_disjoint_and_a_larger_draw_holds_the_smaller(tmp_path):
    source = open_source(str(pairs_of(tmp_path / "pairs", 12)))
    kept = {}
    for name, images in (("few", 3), ("more", 5)):
        write_masked_subset(source, tmp_path / name, images=images, search_images=2, seed=3)
        kept[name] = {
            split: {file.stem for file in (tmp_path / name / "masks" / split).iterdir()}
            for split in ("train", "search", "val")
        }
    assert kept["few"]["train"] < kept["more"]["train"]
    assert kept["few"]["search"] == kept["more"]["search"]
    assert not kept["more"]["train"] & kept["more"]["search"]


def test_larger_images_are_scaled_with_their_masks(tmp_path):
    root = tmp_path / "pairs"
    for number in range(6):
        picture(root / "images" / f"{number}.png", height=40, width=60)
        mask(root / "masks" / f"{number}.png", np.repeat([[0, 1]], 30, axis=1).repeat(40, axis=0))
    (root / "classes.txt").write_text("ground\nthing\n")
    write_masked_subset(open_source(str(root)), tmp_path / "out", size=20)
    again = open_source(str(tmp_path / "out"))
    with again.train.open(0) as image:
        assert image.size == (30, 20)
    assert again.train.mask(0).shape == (20, 30)
    assert np.array_equal(again.train.mask(0), np.repeat([[0, 1]], 15, axis=1).repeat(20, axis=0))


def test_what_was_interrupted_goes_on_and_is_no_source_before(tmp_path):
    source = open_source(str(pairs_of(tmp_path / "pairs", 12)))

    def stop(done, _total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_masked_subset(source, tmp_path / "out", progress=stop)
    with pytest.raises(DataError):
        open_source(str(tmp_path / "out"))
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "masks").rglob("*.png")}
    assert len(kept) == 5
    write_masked_subset(source, tmp_path / "out")
    write_masked_subset(source, tmp_path / "whole")
    assert all(file.stat().st_mtime_ns == then for file, then in kept.items())
    for file in (tmp_path / "whole").rglob("*.*"):
        assert (tmp_path / "out" / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes()


def test_what_does_not_fit_is_one_error(tmp_path):
    root = pairs_of(tmp_path / "pairs", 12)
    source = open_source(str(root))
    write_masked_subset(source, tmp_path / "out", images=3)
    with pytest.raises(DataError, match="another command"):
        write_masked_subset(source, tmp_path / "out", images=4)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="empty folder"):
        write_masked_subset(source, tmp_path / "full")
    with pytest.raises(DataError, match=r"one image to all \d+ images; 50 were asked for"):
        write_masked_subset(source, tmp_path / "new", images=50)
    with pytest.raises(DataError, match="whole number"):
        write_masked_subset(source, tmp_path / "new", size=0)
    Image.new("L", (3, 3)).save(root / "masks" / "train" / "0.png")
    with pytest.raises(DataError, match="a mask has the size of its image"):
        write_masked_subset(open_source(str(root)), tmp_path / "newer")


def test_broken_images_are_left_out_where_that_is_allowed(tmp_path):
    root = pairs_of(tmp_path / "pairs", 12)
    first = root / "images" / "train" / "0.jpg"
    first.write_bytes(first.read_bytes()[:40])
    source = open_source(str(root))
    with pytest.raises(DataError, match="allow-broken"):
        write_masked_subset(source, tmp_path / "out")
    found = write_masked_subset(source, tmp_path / "out2", allow_broken=0.2)
    assert [file for file, _ in found.broken] == [str(first)]
    assert sum(found.images.values()) == 23
