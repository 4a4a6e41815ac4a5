"""Sources whose every pixel has a class: what each layout's numbers mean, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acmix_nas.data import describe, load_splits, open_source
from acmix_nas.data.masks import IGNORED, coding_of
from acmix_nas.data.samples import Samples
from acmix_nas.data.sources import cityscapes, voc
from acmix_nas.data.splits import check_shown
from acmix_nas.errors import DataError
from acmix_nas.tasks import TaskError, load_images, load_task

TALL, WIDE = 7, 11


def picture(file: Path, *, height: int = TALL, width: int = WIDE, orientation: int = 1) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(len(str(file))).integers(0, 255, (height, width, 3), dtype=np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(file, exif=exif)


def mask(file: Path, numbers, mode: str = "L") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(numbers, dtype=np.uint8), mode="L")
    if mode == "P":
        image = image.convert("P")
        image.putdata(np.asarray(numbers).ravel().tolist())
        image.putpalette([200, 10, 90] * 256)
    image.save(file)


def drawn(*values: int, height: int = TALL, width: int = WIDE):
    """A mask with each of some numbers in it."""
    return np.resize(np.asarray(values, dtype=np.uint8), (height, width))


def pairs_of(root: Path, count: int = 5, numbers=(0, 1, 2, 255)) -> Path:
    for part in ("train", "val"):
        for index in range(count):
            picture(root / "images" / part / f"{index}.jpg")
            mask(root / "masks" / part / f"{index}.png", drawn(*numbers))
    (root / "classes.txt").write_text("sky\nsea\nland\n")
    return root


def test_a_pair_of_folders_is_read_by_names(tmp_path):
    source = open_source(pairs_of(tmp_path))
    assert (source.kind, source.pixel_classes, source.classes) == ("pairs", ("sky", "sea", "land"), ())
    assert np.array_equal(source.validation.mask(3), drawn(0, 1, 2, 255))
    assert len(source.train.labels) == len(source.validation.labels) == 5


def test_what_is_not_read_of_a_pair_of_folders_is_counted(tmp_path):
    pairs_of(tmp_path)
    for name in ("a.heic", "b.heic", ".hidden", "notes"):
        (tmp_path / "images" / "train" / name).write_bytes(b"x")
    mask(tmp_path / "masks" / "val" / "of_no_image.png", drawn(0, 1))
    source = open_source(tmp_path)
    assert source.passed_over == {".heic": 2, "without extension": 1, "masks without an image": 1}
    assert len(source.train.labels) == len(source.validation.labels) == 5


def test_a_pair_without_parts_gives_a_share_to_validate_on(tmp_path):
    for index in range(10):
        picture(tmp_path / "images" / f"{index}.png")
        mask(tmp_path / "semantic" / f"{index}.png", np.full((TALL, WIDE), index % 3))
    (tmp_path / "classes.txt").write_text("0\tsky\n1\tsea\n2\tland\n")
    source = open_source(tmp_path)
    assert any("held out for report" in note for note in source.notes)
    for part in (source.train, source.validation):
        for index in range(len(part.labels)):
            assert (part.mask(index) == int(Path(part.name(index)).stem) % 3).all()


def test_the_zero_of_ade20k_is_left_out_once(tmp_path):
    for part in ("training", "validation"):
        picture(tmp_path / "images" / part / "ADE_1.jpg")
        mask(tmp_path / "annotations" / part / "ADE_1.png", drawn(0, 1, 2, 3))
    (tmp_path / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tName\n1\t.1\t1\t1\twall\n2\t.1\t1\t1\tbuilding, edifice\n3\t.1\t1\t1\twall, other\n"
    )
    source = open_source(tmp_path)
    assert (source.kind, source.pixel_classes) == ("ade", ("wall", "building", "wall (3)"))
    assert np.array_equal(source.train.mask(0), drawn(255, 0, 1, 2))
    assert coding_of(source.train) == {0: 1, 1: 2, 2: 3}
    assert any("reduce_zero_label" in note for note in source.notes)


def test_a_palette_of_pascal_voc_holds_numbers_not_colours(tmp_path):
    for name, stems in (("train", "ab"), ("val", "c")):
        (tmp_path / voc.LISTS).mkdir(parents=True, exist_ok=True)
        (tmp_path / voc.LISTS / f"{name}.txt").write_text("\n".join(stems))
    for stem in "abc":
        picture(tmp_path / "JPEGImages" / f"{stem}.jpg")
        mask(tmp_path / "SegmentationClass" / f"{stem}.png", drawn(0, 15, 20, 255), mode="P")
    source = open_source(tmp_path)
    assert (source.kind, len(source.pixel_classes), source.pixel_classes[15]) == ("voc", 21, "person")
    assert np.array_equal(source.train.mask(1), drawn(0, 15, 20, 255))


@pytest.mark.parametrize("suffix", ["_gtFine_labelIds", "_gtFine_labelTrainIds"])
def test_the_numbers_of_cityscapes_become_its_19_classes(tmp_path, suffix):
    for part in ("train", "val"):
        picture(tmp_path / "leftImg8bit" / part / "ulm" / "ulm_0_0_leftImg8bit.png")
        given = (7, 26, 33, 0) if suffix.endswith("labelIds") else (0, 13, 18, 255)
        mask(tmp_path / "gtFine" / part / "ulm" / f"ulm_0_0{suffix}.png", drawn(*given))
    source = open_source(tmp_path)
    assert source.kind == "cityscapes"
    assert [cityscapes.CLASSES[place] for place in (0, 13, 18)] == ["road", "car", "bicycle"]
    assert np.array_equal(source.validation.mask(0), drawn(0, 13, 18, 255))


def coco(root: Path, *, kind: str = "instances", ids=(3, 90, 7)) -> Path:
    """Two parts of one image: a large object, a smaller one over it, and a crowd."""
    for part in ("train2017", "val2017"):
        picture(root / part / "1.jpg", height=8, width=10)
        categories = [{"id": number, "name": f"thing {number}", "supercategory": "x"} for number in ids]
        boxes = [
            {"id": 1, "image_id": 5, "category_id": 7, "iscrowd": 0, "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]},
            {"id": 2, "image_id": 5, "category_id": 90, "iscrowd": 0, "segmentation": [[0, 0, 6, 0, 6, 6, 0, 6]]},
            {"id": 3, "image_id": 5, "category_id": 3, "iscrowd": 1,
             "segmentation": {"size": [8, 10], "counts": [72, 8]}},
        ]  # fmt: skip
        content = {"images": [{"id": 5, "file_name": "1.jpg", "height": 8, "width": 10}], "categories": categories}
        annotations = boxes
        if kind == "panoptic":
            folder = root / "annotations" / f"panoptic_{part}"
            folder.mkdir(parents=True, exist_ok=True)
            segments = np.zeros((8, 10), dtype=np.int64)
            segments[:, :5], segments[:, 5:8] = 70_001, 300
            colours = np.stack([segments % 256, segments // 256 % 256, segments // 65536], -1).astype(np.uint8)
            Image.fromarray(colours).save(folder / "1.png")
            infos = [{"id": 70_001, "category_id": 90}, {"id": 300, "category_id": 3}]
            annotations = [{"image_id": 5, "file_name": "1.png", "segments_info": infos}]
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"{kind}_{part}.json").write_text(json.dumps({**content, "annotations": annotations}))
    return root


def change_coco(root: Path, change) -> None:
    """Two parts as of `coco`, the annotations of the first changed."""
    file = coco(root) / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_coco_instances_lie_small_over_large_and_crowds_are_left_out(tmp_path):
    source = open_source(coco(tmp_path))
    assert (source.kind, source.pixel_classes) == ("coco", ("background", "thing 3", "thing 7", "thing 90"))
    found = source.train.mask(0)
    assert (found[1:3, 1:3] == 2).all()  # of id 7, the second in the order of ids, and the smaller object
    assert found[0, 0] == found[4, 4] == 3
    assert (found[:, 9] == IGNORED).all()
    assert found[7, 0] == 0


def test_coco_panoptic_segments_are_classes_and_void_is_left_out(tmp_path):
    source = open_source(coco(tmp_path, kind="panoptic"))
    found = source.train.mask(0)
    assert source.pixel_classes == ("thing 3", "thing 7", "thing 90")
    assert (found[:, :5] == 2).all()
    assert (found[:, 5:8] == 0).all()
    assert (found[:, 8:] == IGNORED).all()


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("of", ["stored", "seen"])
def test_a_mask_of_a_turned_image_is_of_what_is_stored_or_of_what_is_seen(tmp_path, orientation, of):
    root = pairs_of(tmp_path, count=2)
    for part in ("train", "val"):
        picture(root / "images" / part / "0.jpg", orientation=orientation)
    upright = {3: (TALL, WIDE), 6: (WIDE, TALL), 8: (WIDE, TALL)}[orientation]
    given = drawn(0, 1, 2, height=TALL, width=WIDE)
    expected = np.rot90(given, {3: 2, 6: -1, 8: 1}[orientation])
    numbers = given if of == "stored" else expected
    mask(root / "masks" / "train" / "0.png", numbers)
    image, found = Samples(open_source(root).train, np.array([0]))[0]
    assert image.shape[1:] == found.shape == upright
    if orientation != 3 or of == "seen":  # half a turn keeps the size, so the mask is taken as it is seen
        assert np.array_equal(found.numpy(), expected)


def spoil_size(root):
    mask(root / "masks/train/1.png", drawn(0, 1, height=3, width=4))
    return r"masks/train/1.png has 3 x 4 pixels, .*images/train/1.jpg has 7 x 11"


def spoil_number(root):
    mask(root / "masks/train/1.png", drawn(0, 9))
    return r"here 0 and 1 and 2, and 255 unscored; .*1.png has 9 in 38 pixels"


def spoil_sign(root):
    (root / "masks/train/1.png").unlink()
    Image.fromarray(np.full((TALL, WIDE), -1, dtype=np.int32), mode="I").save(root / "masks/train/1.tif")
    return r"1.tif has -1 in 77 pixels"


def spoil_colours(root):
    Image.fromarray(np.zeros((TALL, WIDE, 3), np.uint8)).save(root / "masks/train/1.png")
    return r"one number a pixel.*1.png has RGB colours"


def spoil_file(root):
    (root / "masks/train/1.png").write_bytes(b"no picture")
    return r"the mask .*1.png cannot be read"


@pytest.mark.parametrize("spoil", [spoil_size, spoil_number, spoil_sign, spoil_colours, spoil_file])
def test_a_mask_that_does_not_fit_is_named_and_described(tmp_path, spoil):
    root = pairs_of(tmp_path)
    message = spoil(root)
    source = open_source(root)
    with pytest.raises(DataError, match=message):
        source.train.mask(1)
    found = describe(source)
    ((file, _),) = found.misfits
    assert file.endswith("images/train/1.jpg")
    assert sum(found.pixels.values()) + found.unscored == 9 * TALL * WIDE


def test_pixels_of_each_class_are_counted(tmp_path):
    found = describe(open_source(pairs_of(tmp_path, numbers=(0, 0, 1, 255))))
    share = {name: count / (10 * TALL * WIDE) for name, count in found.pixels.items()}
    assert share["sky"] == pytest.approx(39 / 77)
    assert share["land"] == 0
    assert found.unscored == 10 * 19
    assert found.classes == ("sky", "sea", "land")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "masks/val/2.png").unlink(), "each image has a mask of its name; 1 of 5 have none"),
        (lambda root: mask(root / "masks/val/2.tif", drawn(0)), "an image has one mask"),
        (lambda root: (root / "classes.txt").write_text("sky\n"), "2 to 255 classes; .* has 1"),
        (lambda root: (root / "classes.txt").write_text("sky\nsky\n"), "'sky' twice"),
        (lambda root: (root / "classes.txt").write_text("0\ta\n2\tb\n"), "numbered 0, 1, 2 and so on; .* has 0, 2"),
        (lambda root: (root / "classes.txt").write_bytes(b"\xff\xfe\xff"), "cannot be read"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused(tmp_path, change, message):
    change(pairs_of(tmp_path))
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("images"), "has not"),
        (lambda content: content["images"].append({**content["images"][0], "id": 6, "file_name": "2.jpg"}), "1 images"),
        (lambda content: content["images"].append(content["images"][0]), "images has an id of its own; .* has 5 more"),
        (lambda content: content["categories"].append({"id": 7, "name": "x"}), "categories has an id of its own; .* 7"),
        (lambda content: content["images"][0].update(file_name="../train2017/1.jpg"), r"\.\./train2017/1.jpg does not"),
        (lambda content: content["images"][0].update(file_name="/etc/x.jpg"), "/etc/x.jpg does not"),
        (lambda content: content["annotations"][0].update(image_id=99), "of the image 99"),
        (lambda content: content["annotations"][0].update(category_id=99), "of the category 99"),
        (lambda content: content["annotations"][0].update(segmentation="x"), "polygons or a run-length"),
        (lambda content: content["images"][0].update(height="8"), "whole number"),
    ],
)  # fmt: skip
def test_annotations_that_do_not_fit_are_refused(tmp_path, change, message):
    change_coco(tmp_path, change)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["images"][0].update(width=10**6), "has 8 x 1000000 pixels; it has 8 x 10"),
        (lambda content: content["annotations"][1].update(segmentation=["a"]), "annotation 2 of .* polygons of three"),
        (lambda content: content["annotations"][1].update(segmentation=[[0, 0, 1, 1]]), "annotation 2 of .* polygons"),
    ],
)  # fmt: skip
def test_an_object_that_cannot_be_drawn_is_named(tmp_path, change, message):
    change_coco(tmp_path, change)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path).train.mask(0)


def test_an_object_without_a_segmentation_has_no_pixels(tmp_path):
    change_coco(tmp_path, lambda content: content["annotations"][0].update(segmentation=[]))
    assert not (open_source(tmp_path).train.mask(0) == 2).any()


def test_the_fingerprint_sees_a_changed_mask(tmp_path):
    before = open_source(pairs_of(tmp_path)).fingerprint
    mask(tmp_path / "masks" / "train" / "1.png", drawn(2, 1, 0))
    assert open_source(tmp_path).fingerprint != before


def test_samples_are_kept_while_there_is_room(tmp_path):
    source = open_source(pairs_of(tmp_path))
    kept, none = (Samples(source.train, np.arange(5), keep=keep) for keep in (10**6, 0))
    assert kept[2][0] is kept[2][0]
    assert none[2][0] is not none[2][0]
    assert [np.array_equal(a[1], b[1]) for a, b in zip(kept, none, strict=True)] == [True] * 5
    pixels = np.concatenate([image.flatten(1).numpy() for image, _ in none], 1) / 255
    mean, std = none.moments()
    assert mean == pytest.approx(pixels.mean(1), abs=1e-9)
    assert std == pytest.approx(pixels.std(1), abs=1e-9)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    root = pairs_of(tmp_path)
    (root / "images/train/2.jpg").write_bytes(b"\xff\xd8no picture")
    with pytest.raises(DataError, match=r"2.jpg cannot be decoded"):
        Samples(open_source(root).train, np.arange(5))[2]


def test_splits_hold_images_of_their_own_sizes(tmp_path):
    root = pairs_of(tmp_path, count=8)
    picture(root / "images/val/3.jpg", height=5, width=6)
    mask(root / "masks/val/3.png", drawn(0, 1, height=5, width=6))
    splits = load_images("segmentation", root, input_size=4, train_images=None, seed=0, with_report=True)
    assert splits.classes == ("sky", "sea", "land")
    assert (len(splits.train) + len(splits.search), len(splits.report)) == (8, 8)
    assert splits.report.images[3][0].shape == (3, 5, 6)
    assert splits.to_dict()["num_classes"] == 3


def test_a_source_is_for_the_tasks_that_it_has_classes_for(tmp_path):
    with pytest.raises(TaskError, match="the class of every pixel"):
        load_splits(
            "embedded", input_size=28, train_images=20, seed=0, with_report=False, reads=load_task("segmentation")
        )
    with pytest.raises(TaskError, match="--task segmentation, as its pixels have classes"):
        load_images("classification", pairs_of(tmp_path), input_size=4, train_images=None, seed=0, with_report=False)


def test_a_class_that_training_never_shows_is_named(tmp_path):
    root = pairs_of(tmp_path / "pairs", 6, numbers=(0, 1))
    mask(root / "masks" / "val" / "4.png", drawn(0, 2))
    options = {"input_size": 8, "seed": 0, "with_report": True}
    whole = load_images("segmentation", root, train_images=None, **options)
    with pytest.raises(DataError, match=r"1 of 3 have none: land\. .*4\.jpg has land"):
        check_shown(whole)
    assert (
        check_shown(load_images("segmentation", root, train_images=None, **options | {"with_report": False})).notes
        == ()
    )
    for index in range(6):
        mask(root / "masks" / "train" / f"{index}.png", drawn(0, 1))
    mask(root / "masks" / "train" / "0.png", drawn(0, 2))
    few = [load_images("segmentation", root, train_images=1, **options | {"seed": seed}) for seed in range(6)]
    notes = [note for splits in few for note in check_shown(splits).notes]
    assert any("no drawn image to train on shows" in note for note in notes)
