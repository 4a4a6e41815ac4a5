from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acmix_nas.data import decode as decode_module
from acmix_nas.data import load_splits, open_source
from acmix_nas.data.decode import decode, decode_image
from acmix_nas.data.sources._files import Files
from acmix_nas.errors import DataError


def save_image(path: Path, value: int, size: tuple[int, int] = (11, 7), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 40, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise + np.uint8(value % 200)).convert(mode).save(path)
    return path


def make_source(root: Path, *, validation: str = "val", per_class: int = 12, classes: int = 3) -> Path:
    for number in range(classes):
        for index in range(per_class):
            save_image(root / "train" / f"class{number}" / f"{index}.png", 100 * number + index)
        save_image(root / validation / f"class{number}" / "first.png", 9000 + number)
    return root


def part_of(paths: list[Path]) -> Files:
    files = Files(labels=np.zeros(len(paths), dtype=np.int64))
    for path in paths:
        files.add(str(path.parent), path.name)
    return files


def load(root: Path, **values):
    return load_splits(root, **{"input_size": 5, "train_images": None, "seed": 0, "with_report": True, **values})


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "test"])
def test_every_name_of_the_validation_folder_is_found(tmp_path, validation):
    splits = load(make_source(tmp_path, validation=validation))
    assert splits.name == tmp_path.name
    assert splits.classes == ("class0", "class1", "class2")
    assert splits.to_dict()["counts"] == {"train": 30, "search": 6, "report": 3}
    assert splits.train.images.shape == (30, 3, 5, 5)
    assert splits.search.targets.bincount().tolist() == [2, 2, 2]
    assert splits.report.targets.tolist() == [0, 1, 2]
    assert (splits.in_chans, splits.embedded, splits.skipped) == (3, False, ())


def test_val_comes_before_test(tmp_path):
    make_source(tmp_path, validation="test")
    make_source(tmp_path, validation="val")
    validation = open_source(tmp_path).validation
    assert all("val" in Path(validation.name(index)).parts for index in range(len(validation.labels)))


def test_splits_are_disjoint_and_the_search_split_ignores_train_images(tmp_path):
    source = make_source(tmp_path)
    whole, part, fewer = (load(source, train_images=size) for size in (None, 20, 9))
    pixels = [
        {image.numpy().tobytes() for image in split.images} for split in (whole.train, whole.search, whole.report)
    ]
    assert len(set.union(*pixels)) == sum(map(len, pixels)) == 39
    assert torch.equal(whole.search.images, fewer.search.images)
    subsets = [{image.numpy().tobytes() for image in splits.train.images} for splits in (fewer, part, whole)]
    assert subsets[0] < subsets[1] < subsets[2]
    assert fewer.train.targets.bincount().tolist() == [3, 3, 3]


def test_the_seed_decides_the_draw(tmp_path):
    source = make_source(tmp_path)
    assert torch.equal(load(source, seed=1).search.images, load(source, seed=1).search.images)
    assert not torch.equal(load(source, seed=1).search.images, load(source, seed=2).search.images)


def test_only_the_drawn_images_are_decoded(tmp_path):
    counts = []
    load(make_source(tmp_path), train_images=3, with_report=False, progress=lambda done, total: counts.append(total))
    assert set(counts) == {3 + 6}


def test_a_class_without_validation_images_keeps_its_number(tmp_path):
    source = make_source(tmp_path)
    (source / "val" / "class1" / "first.png").unlink()
    assert load(source).report.targets.tolist() == [0, 2]


def test_hidden_files_are_left_out(tmp_path):
    source = make_source(tmp_path)
    before = open_source(source)
    (source / "train" / "class0" / "._0.png").write_bytes(b"resource fork")
    save_image(source / "train" / ".trash" / "0.png", 1)
    after = open_source(source)
    assert (after.classes, after.fingerprint) == (before.classes, before.fingerprint)


def test_the_fingerprint_changes_with_the_files_and_not_with_the_place(tmp_path):
    first, second = open_source(make_source(tmp_path / "a")), open_source(make_source(tmp_path / "b"))
    save_image(tmp_path / "b" / "train" / "class0" / "more.png", 5)
    third = open_source(tmp_path / "b")
    assert first.fingerprint == second.fingerprint != third.fingerprint


def test_other_layouts_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"(?s)train/CLASS/.* has nothing"):
        load(tmp_path)
    save_image(tmp_path / "cats" / "0.png", 0)
    with pytest.raises(DataError, match=r"(?s)val, valid, validation, test .* has cats/"):
        load(tmp_path)


def test_empty_loose_single_and_unknown_classes_are_reported(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match=r"no images in .*train"):
        load(tmp_path)
    save_image(tmp_path / "train" / "one" / "0.png", 0)
    with pytest.raises(DataError, match=r"no images in .*val"):
        load(tmp_path)
    save_image(tmp_path / "val" / "one" / "0.png", 0)
    with pytest.raises(DataError, match=r"two classes or more; .* has one only"):
        load(tmp_path)
    save_image(tmp_path / "train" / "two" / "0.png", 0)
    save_image(tmp_path / "val" / "three" / "0.png", 0)
    with pytest.raises(DataError, match=r"1 have none: three"):
        load(tmp_path)
    save_image(tmp_path / "train" / "loose.png", 0)
    with pytest.raises(DataError, match=r"loose\.png lies directly in"):
        load(tmp_path)


def test_classes_of_one_image_are_refused(tmp_path):
    with pytest.raises(DataError, match="Give each class more images"):
        load(make_source(tmp_path, per_class=1))


@pytest.mark.parametrize("size", [0, 2, 31])
def test_a_wrong_number_of_train_images_is_refused(tmp_path, size):
    with pytest.raises(DataError, match=rf"3 classes .* 30 images; {size} were asked"):
        load(make_source(tmp_path), train_images=size)


def test_one_broken_file_in_a_hundred_is_skipped_and_named(tmp_path):
    source = make_source(tmp_path, per_class=50, classes=2)
    (source / "train" / "class0" / "7.png").write_bytes(b"this is no image")
    splits = load(source)
    assert len(splits.train) + len(splits.search) == 99
    assert splits.train.images.flatten(1).any(1).all()
    [(path, reason)] = splits.skipped
    assert path.endswith("7.png")
    assert "UnidentifiedImageError" in reason
    assert splits.to_dict()["skipped"] == 1


def test_more_broken_files_are_refused(tmp_path):
    source = make_source(tmp_path)
    good = (source / "train" / "class0" / "0.png").read_bytes()
    (source / "train" / "class0" / "0.png").write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"at most 1% .* 1 of 39 are: .*0\.png"):
        load(source)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.jpg", "RGB"),
        ("a.JPEG", "L"),
        ("a.jpg", "CMYK"),
        ("a.png", "RGB"),
        ("a.png", "L"),
        ("a.png", "P"),
        ("a.png", "RGBA"),
        ("a.png", "1"),
    ],
)
def test_every_mode_becomes_rgb_of_the_asked_size(tmp_path, name, mode):
    path = save_image(tmp_path / name, 100, size=(40, 30), mode=mode)
    assert decode_image(Image.open(path), 13).shape == (13, 13, 3)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    Image.fromarray(np.full((9, 9), 128 * 256, dtype=np.uint16)).save(tmp_path / "a.png")
    assert (decode_image(Image.open(tmp_path / "a.png"), 5) == 128).all()


def test_exif_turns_the_image(tmp_path):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=100)
    decoded = decode_image(Image.open(tmp_path / "a.jpg"), 8)
    assert decoded[:, 6:].min() > 200
    assert decoded[:, :2].max() < 55


def test_the_centre_is_cut_out(tmp_path):
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (decode_image(Image.open(tmp_path / "a.png"), 10) == 255).all()


def test_a_truncated_jpeg_is_broken(tmp_path):
    paths = [save_image(tmp_path / f"{index}.jpg", index, size=(64, 64)) for index in range(200)]
    paths[3].write_bytes(paths[3].read_bytes()[:700])
    decoded = decode(part_of(paths), np.arange(200), input_size=5)
    assert decoded.images.shape == (200, 3, 5, 5)
    assert list(decoded.broken) == [3]
    assert decoded.kept().tolist() == [*range(3), *range(4, 200)]


def test_progress_ends_with_all_images(tmp_path):
    paths = [save_image(tmp_path / f"{index}.png", index) for index in range(70)]
    seen = []
    decode(part_of(paths), np.arange(70), input_size=5, progress=seen.append)
    assert seen == [32, 32, 6]


def test_what_does_not_fit_into_memory_is_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(decode_module, "available_memory", lambda: 10**6)
    with pytest.raises(DataError, match=r"100 images of 224 x 224 .* Take fewer"):
        decode(part_of([Path("nowhere.jpg")] * 100), np.arange(100), input_size=224)
