"""Composed scenes: functions of their number, with exact masks, and the same again from folders."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from acmix_nas.data import open_source
from acmix_nas.data.scenes import GROUNDS, RECIPE, SceneRecipe, compose
from acmix_nas.data.write_scenes import runs, write_scenes
from acmix_nas.errors import UsageError

GARMENTS = 10
MARKS = ["8ece76675fc3", "072ce32e5a55", "5ab643c3d112"]
"""Of scene 7 of each split."""


@pytest.fixture(scope="module")
def source():
    return open_source("scenes")


def test_scenes_are_these(source):
    """Another picture of any of them would make other results under the same recipe's version."""
    marks = [
        hashlib.sha256(part.scene(7).image.tobytes() + part.mask(7).tobytes()).hexdigest()[:12]
        for part in (source.train, source.search, source.validation)
    ]
    assert RECIPE.version == 1
    assert len(set(marks)) == 3
    assert marks == MARKS


def test_a_scene_is_a_function_of_its_number(source):
    again = open_source("scenes")
    for index in (0, 1, 99):
        assert np.array_equal(source.train.scene(index).image, again.train.scene(index).image)
        assert np.array_equal(np.asarray(source.train.open(index)), source.train.scene(index).image)
    assert again.fingerprint == source.fingerprint
    assert source.pixel_classes[GARMENTS:] == GROUNDS


def test_classes_of_pixels_are_those_of_what_is_seen(source):
    for index in range(60):
        scene = source.train.scene(index)
        assert scene.image.shape == (64, 64, 3)
        in_objects = np.zeros((64, 64), dtype=int)
        for found in scene.objects:
            assert found.mask.sum() >= RECIPE.least
            assert (scene.classes[found.mask] == found.label).all()
            in_objects += found.mask
            left, top, width, height = found.box
            inside = np.zeros((64, 64), dtype=bool)
            inside[top : top + height, left : left + width] = True
            assert not found.mask[~inside].any()
            assert found.mask[top].any()
            assert found.mask[:, left + width - 1].any()
        assert in_objects.max(initial=0) <= 1  # each pixel is seen of one garment
        grounds = set(np.unique(scene.classes[scene.classes >= GARMENTS]).tolist())
        assert grounds <= set(range(GARMENTS, GARMENTS + len(GROUNDS)))
        assert len(grounds) <= 2
        hidden = (scene.classes < GARMENTS) & (in_objects == 0)  # of garments of which too little is seen
        assert hidden.sum() < RECIPE.least * RECIPE.garments[1]


def test_a_garment_has_no_holes_where_its_picture_is_dark():
    square = np.full((28, 28), 200, dtype=np.uint8)
    square[10:12, :] = 0  # a dark stripe is closed
    scene = compose(square[None], np.array([3]), GARMENTS, (0, 5), SceneRecipe(garments=(1, 1)))
    assert len(scene.objects) == 1
    for found in scene.objects:
        left, top, width, height = found.box
        assert found.mask[top : top + height, left : left + width].mean() > 0.97


def test_the_garments_of_the_splits_are_disjoint(source):
    seen = [{hashlib.sha256(each.tobytes()).digest() for each in part.garments}
            for part in (source.train, source.search, source.validation)]  # fmt: skip
    assert sum(map(len, seen)) > 13_000
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert len(seen[one] & seen[other]) <= 3  # the data set itself has a few pictures twice


def test_scenes_as_ade20k_are_read_back_the_same(source, tmp_path):
    folder = write_scenes(tmp_path / "out", layout="ade", train=6, validation=4)
    found = open_source(folder)
    assert (found.kind, found.pixel_classes) == ("ade", source.pixel_classes)
    for mine, theirs, count in ((source.train, found.train, 6), (source.validation, found.validation, 4)):
        assert len(theirs.labels) == count
        for index in range(count):
            assert np.array_equal(np.asarray(theirs.open(index)), mine.scene(index).image)
            assert np.array_equal(theirs.mask(index), mine.mask(index))


def test_scenes_as_coco_are_read_back_the_same(source, tmp_path):
    folder = write_scenes(tmp_path / "out", layout="coco", train=6, validation=4)
    found = open_source(folder)
    assert found.pixel_classes == ("background", *source.pixel_classes[:GARMENTS])
    content = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    assert [each["id"] for each in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
    for index in range(4):
        scene = source.validation.scene(index)
        expected = np.zeros((64, 64), dtype=np.uint8)
        for each in scene.objects:
            expected[each.mask] = each.label + 1
        assert np.array_equal(found.validation.mask(index), expected)
        boxes = [each["bbox"] for each in content["annotations"] if each["image_id"] == index + 1]
        assert boxes == [list(each.box) for each in scene.objects]


def test_runs_are_those_of_coco():
    from faster_coco_eval.core import mask

    rng = np.random.default_rng(0)
    for _ in range(20):
        bits = rng.random((5, 7)) < 0.4
        there = mask.decode(mask.frPyObjects({"size": [5, 7], "counts": runs(bits)}, 5, 7))
        assert np.array_equal(there.astype(bool), bits)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"train": 5000}, "1 to 4,000 scenes of the train part; 5,000"), ({"validation": 0}, "1 to 500 scenes")],
)
def test_more_scenes_than_there_are_are_refused(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        write_scenes(tmp_path / "out", layout="ade", **{"train": 2, "validation": 2, **options})
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_is_left_alone(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "mine.png")
    with pytest.raises(UsageError, match="already has something"):
        write_scenes(tmp_path, layout="ade", train=1, validation=1)
