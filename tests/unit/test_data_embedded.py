import hashlib
import json
import lzma
import shutil
from pathlib import Path

import make_fashion_mnist
import numpy as np
import pytest
import torch

from acmix_nas.data import load_splits
from acmix_nas.data.sources.embedded import HERE, open_source
from acmix_nas.errors import DataError

needs_debian = pytest.mark.skipif(not make_fashion_mnist.DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")


def hashes(images: np.ndarray | torch.Tensor) -> set[bytes]:
    return {hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in np.asarray(images)}


def copy_embedded(folder: Path) -> Path:
    for name in ("fashion_mnist.xz", "fashion_mnist.json"):
        shutil.copy(HERE / name, folder / name)
    return folder


def test_the_embedded_images_are_small_balanced_and_disjoint():
    splits = load_splits(None, input_size=28, train_images=None, seed=0, with_report=True)
    parts = {"train": splits.train, "search": splits.search, "report": splits.report}
    assert (HERE / "fashion_mnist.xz").stat().st_size <= 6_000_000
    for name, size in {"train": 10_000, "search": 2_000, "report": 2_000}.items():
        assert parts[name].images.shape == (size, 1, 28, 28)
        assert parts[name].images.dtype == torch.uint8
        assert parts[name].targets.bincount().tolist() == [size // 10] * 10
    assert len(set.union(*(hashes(part.images) for part in parts.values()))) == 14_000


def test_the_facts_for_a_record():
    splits = load_splits(None, input_size=31, train_images=57, seed=3, with_report=False, search_images=20)
    assert splits.report is None
    assert splits.train.images.shape == (57, 1, 31, 31)
    assert splits.to_dict() == {
        "name": "fashion_mnist (embedded)",
        "fingerprint": splits.fingerprint,
        "former": "0b47cea0f0c4c830",
        "num_classes": 10,
        "counts": {"train": 57, "search": 20},
        "in_chans": 1,
        "input_size": 31,
        "seed": 3,
        "skipped": 0,
    }
    assert splits.fingerprint == "2:63207c4544d26131"
    json.dumps(splits.to_dict())


def test_mean_and_std_are_those_of_the_train_images():
    splits = load_splits(None, input_size=28, train_images=100, seed=0, with_report=False)
    values = splits.train.images.double() / 255
    assert splits.mean == pytest.approx([values.mean().item()])
    assert splits.std == pytest.approx([values.std(correction=0).item()])


def test_the_search_split_is_the_same_whatever_the_train_images():
    first = load_splits(None, input_size=28, train_images=100, seed=0, with_report=False)
    second = load_splits(None, input_size=28, train_images=1000, seed=1, with_report=False)
    assert torch.equal(first.search.images, second.search.images)


def test_resizing_keeps_brightness():
    small = load_splits(None, input_size=14, train_images=50, seed=0, with_report=False)
    whole = load_splits(None, input_size=28, train_images=50, seed=0, with_report=False)
    assert small.mean[0] == pytest.approx(whole.mean[0], abs=0.01)


@pytest.mark.parametrize("size", [-5, 0, 9, 10_001])
def test_more_images_than_there_are_or_fewer_than_classes(size):
    with pytest.raises(DataError, match=rf"10 classes .* 10000 images; {size} were asked"):
        load_splits(None, input_size=28, train_images=size, seed=0, with_report=False)


@pytest.mark.parametrize(("values", "message"), [({"input_size": 0}, "input_size .* 0"), ({"seed": -1}, "seed .* -1")])
def test_values_that_mean_nothing(values, message):
    with pytest.raises(DataError, match=message):
        load_splits(None, **{"input_size": 28, "train_images": None, "seed": 0, "with_report": False, **values})


def test_other_pixels_under_the_same_name_are_refused(tmp_path):
    folder = copy_embedded(tmp_path)
    pixels = bytearray(lzma.decompress((folder / "fashion_mnist.xz").read_bytes()))
    pixels[12345] ^= 1
    (folder / "fashion_mnist.xz").write_bytes(lzma.compress(bytes(pixels), preset=0))
    with pytest.raises(DataError, match="SHA-256"):
        open_source("embedded", folder)


def test_a_damaged_or_missing_file_is_refused(tmp_path):
    folder = copy_embedded(tmp_path)
    packed = (folder / "fashion_mnist.xz").read_bytes()
    (folder / "fashion_mnist.xz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="reinstall acmix-nas"):
        open_source("embedded", folder)
    (folder / "fashion_mnist.json").unlink()
    with pytest.raises(DataError, match=r"fashion_mnist\.json"):
        open_source("embedded", folder)


@needs_debian
def test_the_script_draws_the_same_pixels_again():
    pixels = make_fashion_mnist.draw(make_fashion_mnist.DEBIAN)
    assert make_fashion_mnist.describe(pixels) == json.loads((HERE / "fashion_mnist.json").read_text())


@needs_debian
def test_report_images_come_from_the_test_part_with_their_labels():
    embedded = open_source("embedded")
    parts = {"train": embedded.train, "search": embedded.search, "report": embedded.validation}
    for split, part in {"train": "train", "search": "train", "report": "t10k"}.items():
        images, labels = make_fashion_mnist.read_part(make_fashion_mnist.DEBIAN, part)
        source = {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}
        pairs = zip(parts[split].images.squeeze(1).numpy(), parts[split].labels, strict=True)
        assert {(image.tobytes(), int(label)) for image, label in pairs} <= source
