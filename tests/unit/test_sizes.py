"""Sizes that are not square, from a space's file to the record; and squares, which are written as they always were."""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from data_trees import make_folder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from study_pieces import small_setting

from acmix_nas import files
from acmix_nas.data import load_splits, open_source, plan_subset, write_store
from acmix_nas.data.decode import decode_image
from acmix_nas.data.pixels import resize
from acmix_nas.errors import DataError, RecordError, SpaceError
from acmix_nas.record import TrialRecord
from acmix_nas.sizes import covers, each_side, fitted, pair, size_of, size_rule, size_text
from acmix_nas.space import Proxy, load_space
from acmix_nas.space.load import distinctions
from acmix_nas.train import run_trial

SIDES = st.integers(1, 40)
SIZES = SIDES | st.tuples(SIDES, SIDES).map(size_of)


@given(SIZES)
def test_a_size_is_one_number_if_it_is_a_square(size):
    height, width = pair(size)
    assert size_of((height, width)) == size_of([height, width]) == size
    assert isinstance(size, int) == (height == width)
    assert size_rule().fits(json.loads(json.dumps(size)))
    assert size_text(size) == (str(height) if height == width else f"{height} x {width}")
    assert covers(each_side(size, lambda side: side + 1), size)


@given(SIZES, SIZES)
def test_what_is_fitted_has_the_shape_and_lies_within(size, shape):
    (rows, columns), (height, width), (down, right) = fitted(size, shape), pair(size), pair(shape)
    assert 1 <= rows <= height
    assert 1 <= columns <= width
    assert rows == height or columns == width
    assert abs(rows * right - columns * down) <= max(down, right)


@pytest.mark.parametrize("value", [0, -1, True, [3], [3, 4, 5], [3, 0], "28", None, 2.0, [[1, 2], 3]])
def test_what_is_no_size_is_refused(value):
    assert not size_rule().fits(value)


def wide_space(tmp_path, **proxy):
    plain = yaml.safe_load(files.find_space("swin_t").read_text())
    plain["input_size"] = [160, 320]
    plain["proxies"]["cpu"] |= {"input_size": [20, 28], "patch_size": 4, "inert": "allow", **proxy}
    file = tmp_path / "wide.yaml"
    file.write_text(yaml.safe_dump(plain))
    return file


def test_a_space_and_its_proxy_may_be_wider_than_high(tmp_path):
    space = load_space(wide_space(tmp_path))
    proxy = space.proxies["cpu"]
    assert (space.input_size, proxy.input_size) == ((160, 320), (20, 28))
    assert proxy.maps() == ((5, 7), (3, 4), 2, 1)
    assert Proxy.from_dict(json.loads(json.dumps(proxy.to_dict()))) == proxy
    assert proxy.to_dict()["input_size"] == [20, 28]
    assert replace(proxy, input_size=28).to_dict()["input_size"] == 28
    assert Proxy.from_dict({**proxy.to_dict(), "input_size": [28, 28]}).input_size == 28


@pytest.mark.parametrize("size", [[28], [28, 28, 28], [0, 28], "28", [28, 2.5]])
def test_a_size_in_a_space_that_is_none_is_refused_with_its_place(tmp_path, size):
    with pytest.raises(SpaceError, match=r"line \d+, field proxies\.cpu\.input_size.*whole number"):
        load_space(wide_space(tmp_path, input_size=size))
    with pytest.raises(RecordError, match="input_size"):
        Proxy.from_dict({**load_space("swin_t").proxies["cpu"].to_dict(), "input_size": size})


def test_options_are_told_apart_by_height_and_by_width(tmp_path):
    space = load_space(wide_space(tmp_path))
    proxy = replace(space.proxies["cpu"], input_size=(4, 28), patch_size=4)
    [kernels] = [item for item in distinctions(space, proxy) if item.choice.name == "stages.0.conv_kernel"]
    assert kernels.map == (1, 7)
    assert not kernels.inert  # on a row of 7 pixels every kernel is another one
    flat = replace(proxy, input_size=4)
    [kernels] = [item for item in distinctions(space, flat) if item.choice.name == "stages.0.conv_kernel"]
    assert kernels.groups == (kernels.choice.options,)


def test_pictures_are_decoded_to_height_and_width():
    picture = Image.new("RGB", (90, 50), (10, 20, 30))
    assert decode_image(picture, (20, 28)).shape == (20, 28, 3)
    assert decode_image(picture, 20).shape == (20, 20, 3)
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert resize(images, (8, 16)).shape == (1, 1, 8, 16)
    assert torch.equal(resize(images, (8, 16)), images[:, :, 4:12])  # the middle, at its own scale
    assert resize(images, (5, 3)).shape == (1, 1, 5, 3)


def test_a_store_keeps_height_and_width(tmp_path):
    source = open_source(make_folder(tmp_path / "source"))
    index = write_store(plan_subset(source, size=(5, 8)), tmp_path / "store")
    square = write_store(plan_subset(source, size=(5, 5)), tmp_path / "square")
    assert (index.size, square.size) == ((5, 8), 5)
    assert json.loads((tmp_path / "store" / "index.json").read_text())["size"] == [5, 8]
    assert json.loads((tmp_path / "square" / "index.json").read_text())["size"] == 5
    assert index.fingerprint != square.fingerprint
    asked = {"train_images": None, "seed": 0, "with_report": True}
    splits = load_splits(tmp_path / "store", input_size=(5, 8), **asked)
    assert splits.train.images.shape[1:] == (3, 5, 8)
    assert splits.to_dict()["input_size"] == [5, 8]
    larger = load_splits(tmp_path / "store", input_size=(10, 8), **asked)
    assert larger.train.images.shape[1:] == (3, 10, 8)
    assert any("5 x 8 px; they are enlarged to 10 x 8 px" in note for note in larger.notes)
    assert load_splits(tmp_path / "store", input_size=4, **asked).train.images.shape[1:] == (3, 5, 8)
    with pytest.raises(DataError, match="input_size is a number of pixels from 1 up; it is 0 x 5"):
        load_splits(None, input_size=(0, 5), **asked)


@pytest.mark.parametrize("name", ["swin_t", "resnet26", "pvt_tiny", "san10"])
def test_networks_are_trained_on_images_that_are_not_square(name):
    space, setting = load_space(name), small_setting()
    splits = load_splits(None, input_size=(20, 28), train_images=32, seed=0, with_report=False, search_images=20)
    proxy = replace(space.proxies["cpu"], input_size=(20, 28), epochs=1, images=32)
    budget = replace(setting.budget, images=32, batch_size=16, crop=(0.5, 1.0), rand_augment="rand-m5")
    setting = replace(setting, proxy=proxy, splits=splits, budget=budget, input_size=(160, 320))
    arch = space.build(space.sample(lambda choice: choice.options[-1]))
    record = run_trial(arch, setting, number=0, label="", seeds={"init": 0, "order": 0})
    assert (record.status, record.error) == ("complete", None)
    assert record.cost.input_size == (160, 320)
    again = TrialRecord.from_json(record.to_json())
    assert again == record
    assert (again.proxy["input_size"], again.data["input_size"]) == ([20, 28], [20, 28])


def test_a_larger_store_of_another_shape_is_cut_to_the_middle(tmp_path):
    from acmix_nas.tasks.classification import TASK
    from acmix_nas.train.loader import Feed

    write_store(plan_subset(open_source(make_folder(tmp_path / "source")), size=(8, 8)), tmp_path / "store")
    splits = load_splits(tmp_path / "store", input_size=(4, 6), train_images=None, seed=0, with_report=False)
    feed = Feed(splits, replace(small_setting().budget, batch_size=8), "cpu", TASK)
    assert {tuple(batch.images.shape[2:]) for batch in feed.shuffled(splits.train, torch.Generator())} == {(4, 6)}
    assert {tuple(images.shape[2:]) for images, _ in feed.in_order(splits.search)} == {(4, 6)}
