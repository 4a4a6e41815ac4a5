"""Every kind of source gives the same images and labels as the folder that it was made of."""

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from data_kinds import KINDS, as_parquet, as_parquet_of_names, as_shards, as_tar_of_each_part, by_part, write_parquet
from data_trees import CLASSES, files, make_folder, make_tar, packed
from PIL import Image

from acmix_nas import registry
from acmix_nas.data import Source, absolute, describe, load_splits, open_source, plan_subset, write_store
from acmix_nas.data.sources import torch as torch_source
from acmix_nas.errors import DataError


def labelled_pixels(source: Source) -> dict[str, set[tuple[str, bytes]]]:
    """(class, pixels) of every image of each part."""
    return {
        name: {
            (source.classes[label], part.open(index).convert("RGB").tobytes())
            for index, label in enumerate(part.labels)
        }
        for name, part in (("train", source.train), ("val", source.validation))
    }


def expected() -> dict[str, set[tuple[str, bytes]]]:
    return {
        part: {
            (name.split("/")[0], Image.open(io.BytesIO(value)).tobytes())
            for name, value in by_part(files(), part).items()
        }
        for part in ("train", "val")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_labelled_images(tmp_path, kind):
    source = open_source(KINDS[kind](tmp_path))
    assert source.classes == CLASSES
    assert labelled_pixels(source) == expected()
    assert (len(source.train.labels), len(source.validation.labels)) == (36, 6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_is_drawn_decoded_and_classified(tmp_path, kind):
    spec = KINDS[kind](tmp_path)
    splits = load_splits(spec, input_size=5, train_images=9, seed=1, with_report=True)
    assert splits.to_dict()["counts"] == {"train": 9, "search": 6, "report": 6}
    assert splits.train.targets.bincount().tolist() == [3, 3, 3]
    assert splits.skipped == ()
    assert splits.fingerprint == open_source(spec).fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_one_more_image_is_another_source(tmp_path, kind):
    first = open_source(KINDS[kind](tmp_path / "a", files()))
    more = open_source(KINDS[kind](tmp_path / "b", files(train=13)))
    assert more.fingerprint != first.fingerprint == open_source(KINDS[kind](tmp_path / "c", files())).fingerprint


def test_at_most_one_kind_matches_a_source(tmp_path):
    for number, make in enumerate(KINDS.values()):
        spec = make(tmp_path / str(number))
        kinds = [registry.load("data.sources", name) for name in registry.names("data.sources")]
        assert sum(kind.matches(spec) for kind in kinds) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_named_where_they_are_broken(tmp_path, kind):
    content = {**files(train=60), "train/bee/3.png": b"no image"}
    spec = KINDS[kind](tmp_path, content)
    splits = load_splits(spec, input_size=5, train_images=None, seed=0, with_report=True)
    [(name, reason)] = splits.skipped
    assert "UnidentifiedImageError" in reason
    assert str(tmp_path) in name
    assert len(splits.train) + len(splits.search) == 179
    found = describe(open_source(spec))
    assert found.broken == splits.skipped
    assert (found.sampled, found.formats, found.modes) == (186, {"PNG": 185}, {"RGB": 185})


def test_shards_without_names_have_numbers(tmp_path):
    assert open_source(as_shards(tmp_path, names=False)).classes == ("0", "1", "2")


def test_the_hub_s_own_words_for_a_column_are_taken(tmp_path):
    for part in ("train", "test"):
        table = pyarrow.table({"img": [packed(1), packed(2)], "fine_label": [0, 1], "coarse_label": [0, 0]})
        pyarrow.parquet.write_table(table, tmp_path / f"{part}.parquet")
    source = open_source(tmp_path)
    assert source.classes == ("0", "1")
    assert source.train.open(1).size == (11, 7)


def test_rows_without_an_image_are_broken(tmp_path):
    for part in ("train", "val"):
        write_parquet(tmp_path / f"{part}.parquet", [("a", packed(1)), ("b", b"")], pyarrow.array([0, 1]))
    assert [reason for _, reason in describe(open_source(tmp_path)).broken] == [
        "OSError: the row has no bytes of an image"
    ] * 2


def broken_tar(root: Path) -> str:
    as_tar_of_each_part(root)
    (root / "train.tar").write_bytes((root / "train.tar").read_bytes()[:5000])
    return str(root)


def loose_tar(root: Path) -> str:
    make_tar(root / "train.tar", {"0.png": packed(0)})
    make_tar(root / "val.tar", {"ant/0.png": packed(0)})
    return str(root)


def tar_of_other_classes(root: Path) -> str:
    as_tar_of_each_part(root)
    make_tar(root / "val.tar", {"ant/0.png": packed(0), "dog/0.png": packed(1)})
    return str(root)


def shard_without_label(root: Path) -> str:
    as_shards(root)
    make_tar(root / "set-train-0002.tar", {"7.png": packed(7)})
    return str(root)


def shard_of_words(root: Path) -> str:
    as_shards(root)
    make_tar(root / "set-train-0002.tar", {"7.png": packed(7), "7.cls": b"cow"})
    return str(root)


def parquet_of_two(root: Path) -> str:
    for name in ("large", "small"):
        as_parquet_of_names(root / name)
    return str(root)


def parquet_of_text(root: Path) -> str:
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": [0]}), root / "train.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": [0]}), root / "val.parquet")
    return str(root)


def torn_parquet(root: Path) -> str:
    as_parquet_of_names(root)
    (root / "train.parquet").write_bytes((root / "train.parquet").read_bytes()[:500])
    return str(root)


def folder_of_one_class(root: Path) -> str:
    return str(make_folder(root, files(classes=("ant",))))


def one_file(root: Path) -> str:
    (root / "notes.txt").write_text("nothing")
    return str(root / "notes.txt")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (broken_tar, r"train\.tar cannot be read as an uncompressed tar file: .*\. Is it complete\?"),
        (loose_tar, r"images lie in a folder named after their class; .*train\.tar/0\.png does not"),
        (tar_of_other_classes, r"validation part .* needs training images; 1 have none: dog\. Add"),
        (shard_without_label, r"set-train-0002\.tar has neither 7\.cls nor 7\.json"),
        (shard_of_words, r"class number; .*7\.cls has b'cow'"),
        (lambda root: f"wds/{root}", "has no shards to train on"),
        (parquet_of_two, r"has the configurations large, small\. Name one: --data .*large"),
        (parquet_of_text, r"column image or .*; .*train\.parquet has text, label"),
        (torn_parquet, r"train\.parquet cannot be read as a Parquet file"),
        (folder_of_one_class, "two classes or more; .* has ant only"),
        (one_file, r"(?s)one of\n.*The file .*notes\.txt is none of them"),
        (lambda root: "torch/imagenet", r"one of cifar10, .*; 'imagenet' is none"),
        (lambda root: str(root / "missing"), r"there is no folder or file .*missing\. Check the path"),
    ],
)
def test_all_mistakes_are_one_message(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        open_source(make(tmp_path))


def test_a_missing_library_is_reported_with_its_install_command(tmp_path, monkeypatch):
    as_parquet(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow: .*pip install pyarrow"):
        open_source(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"--data hfds/cifar10 needs datasets: .*pip install datasets"):
        open_source("hfds/cifar10")


class FakeTorchvision:
    """What torchvision's in-memory data sets have, without their download."""

    classes = CLASSES

    def __init__(self, root, train, download):
        if not download:
            raise RuntimeError("Dataset not found")
        if root == Path("offline"):
            raise OSError("no network")
        self.data = np.arange(6 * 4 * 4 * 3, dtype=np.uint8).reshape(6, 4, 4, 3)
        self.targets = [0, 1, 2, 0, 1, 2]


def test_torchvision_s_arrays_need_no_decoding(monkeypatch):
    monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeTorchvision)
    source = open_source("torch/cifar10:somewhere")
    assert source.train.images.shape == (6, 3, 4, 4)
    assert torch.equal(source.train.images[2, 1], torch.arange(97, 145, 3).reshape(4, 4))
    splits = load_splits("torch/cifar10:x", input_size=4, train_images=None, seed=0, with_report=True)
    assert splits.to_dict()["counts"] == {"train": 3, "search": 3, "report": 6}
    with pytest.raises(DataError, match="neither in offline nor can it be downloaded: no network"):
        open_source("torch/cifar10:offline")


def test_imagenette_is_read_as_the_folder_that_torchvision_unpacks(tmp_path):
    ids = ("n01440764", "n02102040")
    make_folder(tmp_path / "imagenette2-160", {n.replace("png", "jpeg"): v for n, v in files(classes=ids).items()})
    source = torch_source.open_source(f"torch/imagenette_160:{tmp_path}")
    assert (source.kind, source.name, source.classes) == ("torch", "imagenette_160", ids)


def test_a_spec_is_made_absolute_only_where_it_is_a_place(tmp_path, monkeypatch):
    as_shards(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    assert absolute("here") == str(tmp_path / "here")
    assert absolute("wds/here") == f"wds/{tmp_path}/here"
    assert absolute("torch/cifar10") == "torch/cifar10"
    assert absolute("embedded") == "embedded"


def test_a_store_of_a_store_is_the_same_images(tmp_path):
    make_folder(tmp_path / "source")
    write_store(plan_subset(open_source(tmp_path / "source"), size=7), tmp_path / "one")
    plan = plan_subset(open_source(tmp_path / "one"), images_per_class=4, classes="2", size=7)
    index = write_store(plan, tmp_path / "two")
    assert index.images == {"train": 8, "search": 4, "report": 4}
    first, second = (open_source(tmp_path / name) for name in ("one", "two"))
    for part in ("train", "search", "validation"):
        pixels = {image.numpy().tobytes() for image in getattr(first, part).images}
        assert {image.numpy().tobytes() for image in getattr(second, part).images} < pixels
