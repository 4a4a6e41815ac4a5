"""Subsets and stores: the draw, the round trip, and what a kill, a full disk or another command leaves."""

import errno
import json
import os
import pickle
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import fork_server
import former_trees
import numpy as np
import pytest
import torch
from data_trees import CLASSES, files, make_folder, write_or_die
from hypothesis import given, settings
from hypothesis import strategies as st
from study_pieces import SPACE, small_setting

from acmix_nas.data import load_splits, open_source, plan_subset, read_index, write_store
from acmix_nas.data import write as write_module
from acmix_nas.data.decode import decode_image
from acmix_nas.data.pixels import Pixels
from acmix_nas.data.source import Source
from acmix_nas.data.sources import store as store_source
from acmix_nas.data.stored import StoredImages
from acmix_nas.data.subset import choose_classes
from acmix_nas.errors import DataError
from acmix_nas.tasks.classification import TASK
from acmix_nas.train import Budget, run_trial
from acmix_nas.train.loader import Feed


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    return open_source(make_folder(tmp_path_factory.mktemp("source")))


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def drawn_source(counts: list[int]) -> Source:
    """Images of one pixel, whose labels are shuffled."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    part = Pixels(images=torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8), labels=labels, where="")
    names = tuple(f"class{number}" for number in range(len(counts)))
    return Source(kind="test", name="test", classes=names, train=part, validation=part, fingerprint="0" * 16)


COUNTS = st.lists(st.integers(3, 30), min_size=3, max_size=7)
SEEDS = st.integers(0, 2**31)


@given(counts=COUNTS, seed=SEEDS, data=st.data())
def test_splits_of_a_subset_are_disjoint_stratified_and_of_the_chosen_classes(counts, seed, data):
    origin = drawn_source(counts)
    classes = data.draw(st.integers(2, len(counts)))
    each = data.draw(st.integers(1, 30))
    plan = plan_subset(origin, classes=str(classes), images_per_class=each, size=1, seed=seed)
    train, search = plan.splits["train"], plan.splits["search"]
    assert len(plan.classes) == classes
    assert not set(train.chosen) & set(search.chosen)
    for number, name in enumerate(plan.classes):
        old = origin.classes.index(name)
        held_out = int((search.labels == number).sum())
        assert 1 <= held_out < counts[old]
        assert (train.labels == number).sum() == min(each, counts[old] - held_out)
    for planned in plan.splits.values():
        names = [origin.classes[label] for label in planned.part.labels[planned.chosen]]
        assert names == [plan.classes[label] for label in planned.labels]


@given(counts=COUNTS, seed=SEEDS, data=st.data())
def test_a_larger_subset_contains_the_smaller(counts, seed, data):
    origin = drawn_source(counts)
    few = data.draw(st.integers(1, 10))
    many = data.draw(st.integers(few, 30))
    small, large = (plan_subset(origin, images_per_class=each, size=1, seed=seed) for each in (few, many))
    assert set(small.splits["train"].chosen) <= set(large.splits["train"].chosen)
    np.testing.assert_array_equal(small.splits["search"].chosen, large.splits["search"].chosen)
    fewer = data.draw(st.integers(2, len(counts)))
    more = data.draw(st.integers(fewer, len(counts)))
    classes = [set(choose_classes(str(count), origin.classes, seed)) for count in (fewer, more)]
    assert classes[0] <= classes[1]
    assert list(map(len, classes)) == [fewer, more]


def test_a_store_has_the_images_that_decoding_gives(tmp_path, source):
    plan = plan_subset(source, images_per_class=5, size=6, seed=3)
    index = write_store(plan, tmp_path / "store", command="acmix data subset --seed 3")
    assert index == read_index(tmp_path / "store")
    assert index.images == {"train": 15, "search": 6, "report": 6}
    assert (index.classes, index.command, index.broken) == (CLASSES, "acmix data subset --seed 3", ())
    splits = load_splits(tmp_path / "store", input_size=6, train_images=None, seed=0, with_report=True)
    for name in ("train", "search", "report"):
        planned, images = plan.splits[name], getattr(splits, name)
        assert images.targets.tolist() == planned.labels.tolist()
        for place, pixels in zip(planned.chosen, images.images, strict=True):
            expected = decode_image(planned.part.open(int(place)), 6)
            np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), expected)
    values = splits.train.images.double() / 255
    assert splits.mean == pytest.approx(values.mean((0, 2, 3)).tolist())
    assert splits.std == pytest.approx(values.std((0, 2, 3), correction=0).tolist())
    assert (splits.name, splits.in_chans, splits.notes) == ("store", 3, ())


@pytest.mark.parametrize("most", [0, 2**28])
def test_a_store_keeps_its_size_and_is_drawn_by_index(tmp_path, source, monkeypatch, most):
    write_store(plan_subset(source, size=6), tmp_path / "store")
    monkeypatch.setattr(store_source, "WHOLE", most)
    whole = load_splits(tmp_path / "store", input_size=5, train_images=None, seed=0, with_report=False)
    assert isinstance(whole.train.images, torch.Tensor if most else StoredImages)
    assert whole.train.images.shape == (30, 3, 6, 6)
    assert whole.input_size == 5
    some = load_splits(tmp_path / "store", input_size=5, train_images=9, seed=0, with_report=False)
    assert some.train.targets.bincount().tolist() == [3, 3, 3]
    everything = {image.numpy().tobytes() for image in whole.train.images}
    assert {image.numpy().tobytes() for image in some.train.images} < everything
    assert torch.equal(some.search.images[:], whole.search.images[:])


def test_a_small_store_is_enlarged_with_a_note(tmp_path, source):
    write_store(plan_subset(source, size=4), tmp_path / "store")
    splits = load_splits(tmp_path / "store", input_size=9, train_images=9, seed=0, with_report=False)
    assert splits.train.images.shape == (9, 3, 9, 9)
    assert splits.notes == ("the store has images of 4 px; they are enlarged to 9 px",)


@settings(max_examples=6)
@given(size=st.integers(1, 9), chunk=st.integers(1, 40), each=st.integers(1, 12), seed=SEEDS)
def test_chunks_leave_no_trace(tmp_path_factory, source, size, chunk, each, seed):
    folder = tmp_path_factory.mktemp("stores")
    plan = plan_subset(source, images_per_class=each, size=size, seed=seed)
    write_store(plan, folder / "one")
    write_store(plan, folder / "two", chunk=chunk)
    assert content(folder / "one") == content(folder / "two")


class Killed(BaseException):
    pass


@settings(max_examples=8)
@given(data=st.data())
def test_an_interrupted_store_goes_on_to_the_same_bytes(tmp_path_factory, source, data):
    folder = tmp_path_factory.mktemp("stores")
    plan = plan_subset(source, size=5)
    write_store(plan, folder / "whole", chunk=4)

    def stop_at(chunk: int):
        calls = iter(range(100))

        def progress(done: int, total: int) -> None:
            if next(calls) == chunk:
                raise Killed

        return progress

    for chunk in data.draw(st.lists(st.integers(0, 3), max_size=3)):
        with pytest.raises(Killed):
            write_store(plan, folder / "torn", chunk=4, progress=stop_at(chunk))
        with pytest.raises(DataError, match=r"incomplete; finish it with the same command: acmix data subset"):
            open_source(folder / "torn")
        # A kill may come in the middle of a write, before it is counted.
        written = sorted((folder / "torn").glob("*.images.bin"))[-1]
        with written.open("ab") as file:
            file.write(b"\xff" * data.draw(st.integers(0, 100)))
        with (folder / "torn" / "progress.jsonl").open("a") as file:
            file.write(data.draw(st.sampled_from(["", '{"split": "tr'])))
    write_store(plan, folder / "torn", chunk=4)
    assert content(folder / "torn") == content(folder / "whole")


@pytest.mark.slow
def test_a_killed_process_leaves_a_store_that_goes_on(tmp_path):
    make_folder(tmp_path / "source")
    codes = []
    for _ in range(3):
        running = fork_server.start(write_or_die, tmp_path / "source", tmp_path / "torn")
        running.join()
        codes.append(running.exitcode)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    write_store(plan_subset(open_source(tmp_path / "source"), size=5), tmp_path / "whole")
    assert content(tmp_path / "torn") == content(tmp_path / "whole")


def test_the_same_command_again_changes_nothing(tmp_path, source):
    plan = plan_subset(source, size=5)
    first = write_store(plan, tmp_path / "store")
    times = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "store").iterdir()}
    assert write_store(plan, tmp_path / "store") == first
    assert times == {file.name: file.stat().st_mtime_ns for file in (tmp_path / "store").iterdir()}


def half_store(folder: Path, source: Source) -> None:
    def stop(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        write_store(plan_subset(source, size=5), folder, progress=stop)


@pytest.mark.parametrize("make", [half_store, lambda folder, source: write_store(plan_subset(source, size=5), folder)])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"size": 6}, "size = 5, now 6"),
        ({"size": 5, "seed": 1}, "seed = 0, now 1"),
        ({"size": 5, "classes": "2"}, "classes = .*, now"),
        ({"size": 5, "images_per_class": 3}, "images_per_class = None, now 3"),
    ],
)
def test_the_store_of_another_command_is_refused_with_what_differs(tmp_path, source, make, asked, message):
    make(tmp_path / "store", source)
    before = content(tmp_path / "store")
    with pytest.raises(DataError, match=rf"one of another command: .*{message}.* Choose another --out"):
        write_store(plan_subset(source, **asked), tmp_path / "store")
    assert content(tmp_path / "store") == before


def test_another_source_in_the_same_folder_is_refused(tmp_path, source):
    half_store(tmp_path / "store", source)
    other = open_source(make_folder(tmp_path / "other", files(train=13)))
    with pytest.raises(DataError, match=r"source = .*fingerprint"):
        write_store(plan_subset(other, size=5), tmp_path / "store")


def test_a_folder_with_other_things_is_refused(tmp_path, source):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"empty folder; .* has thesis\.tex"):
        write_store(plan_subset(source, size=5), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written: .*Choose another --out"):
        write_store(plan_subset(source, size=5), tmp_path / "file" / "store")


def test_two_processes_do_not_write_one_store(tmp_path, source):
    def second(done: int, total: int) -> None:
        with pytest.raises(DataError, match="another process writes the store"):
            write_store(plan_subset(source, size=5), tmp_path / "store")

    write_store(plan_subset(source, size=5), tmp_path / "store", progress=second)


def test_a_full_disk_is_reported_and_the_command_resumes(tmp_path, source, monkeypatch):
    plan = plan_subset(source, size=5)
    write_store(plan, tmp_path / "whole", chunk=4)
    write, left = os.write, iter(range(5))

    def full(file: int, piece: memoryview) -> int:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, piece[:100])

    monkeypatch.setattr(write_module.os, "write", full)
    with pytest.raises(DataError, match=r"the disk of .*store is full: nothing is free\. Free some and run the same"):
        write_store(plan, tmp_path / "store", chunk=4)
    monkeypatch.undo()
    write_store(plan, tmp_path / "store", chunk=4)
    assert content(tmp_path / "store") == content(tmp_path / "whole")


def test_too_little_disk_space_is_refused_before_decoding(tmp_path, source, monkeypatch):
    monkeypatch.setattr(write_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"is full: 0\.00 GB are needed, 0\.00 GB free"):
        write_store(plan_subset(source, size=50), tmp_path / "store")
    assert not list((tmp_path / "store").glob("*.bin"))


def change_index(folder: Path, **values) -> None:
    facts = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**facts, **values}))


def replace_image(folder: Path) -> None:
    with (folder / "train.images.bin").open("r+b") as file:
        file.seek(7 * 3 * 5 * 5 + 20)
        file.write(b"\x07\x08")


def cut(folder: Path) -> None:
    file = folder / "train.images.bin"
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: change_index(folder, version=3),
            r"version 1 to 2; .* has version 3\. Make it again with: acmix data",
        ),
        (lambda folder: change_index(folder, size=None), r"index\.json is damaged"),
        (lambda folder: change_index(folder, images={"train": 3}), r"index\.json is damaged"),
        (cut, r"train\.images\.bin has 2250 bytes; it has 2249"),
        (lambda folder: (folder / "search.images.bin").unlink(), r"search\.images\.bin has .* bytes; it has None"),
        (lambda folder: (folder / "train.labels.npy").unlink(), r"no labels of train"),
        (lambda folder: np.save(folder / "train.labels.npy", np.zeros(3)), r"labels of another split than train"),
        (
            lambda folder: np.save(folder / "train.labels.npy", np.arange(30) % 3),
            r"labels or checksums .* are not those",
        ),
        (lambda folder: (folder / "report.checksums.npy").unlink(), r"no checksums of report"),
        (lambda folder: np.save(folder / "train.checksums.npy", np.zeros(30, np.uint64)), r"labels or checksums"),
        (replace_image, r"train\.images\.bin has other pixels .* the checksum of image 7 differs\. Copy or make"),
    ],
)
def test_a_damaged_store_is_refused(tmp_path, source, damage, message):
    write_store(plan_subset(source, size=5), tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)


def test_a_torn_progress_file_never_counts_what_is_not_there(tmp_path, source):
    half_store(tmp_path, source)
    (tmp_path / "train.images.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"lost what progress\.jsonl counts"):
        write_store(plan_subset(source, size=5), tmp_path)


def large_store(folder: Path, source: Source, monkeypatch, **asked):
    """The splits of a store that stays on disk."""
    write_store(plan_subset(source, size=5), folder)
    monkeypatch.setattr(store_source, "WHOLE", 0)
    return load_splits(folder, input_size=5, seed=0, with_report=True, **{"train_images": None, **asked})


def test_images_on_disk_are_indexed_as_a_tensor_is(tmp_path, source, monkeypatch):
    splits = large_store(tmp_path, source, monkeypatch)
    images = splits.train.images
    whole = torch.from_numpy(np.fromfile(tmp_path / "train.images.bin", np.uint8)).reshape(30, 3, 5, 5)
    for index in (3, -1, slice(4, 9), slice(None), torch.tensor([5, 0, 29, 5, -2]), torch.arange(30) % 7 == 0):
        assert torch.equal(images[index], whole[index])
    assert torch.equal(torch.stack([*images]), whole)
    assert torch.equal(pickle.loads(pickle.dumps(images))[:], whole)
    assert (images.numpy() == whole.numpy()).all()
    assert (len(images), images.shape) == (30, whole.shape)
    for index in (30, torch.tensor([30])):
        with pytest.raises(IndexError):
            images[index]


def test_replaced_pixels_of_a_large_store_are_seen_when_they_are_read(tmp_path, source, monkeypatch):
    images = large_store(tmp_path, source, monkeypatch).train.images
    replace_image(tmp_path)
    assert len(images[:7]) == 7
    with pytest.raises(DataError, match=r"other pixels than the store was made with: the checksum of image 7"):
        images[torch.tensor([3, 7])]
    with pytest.raises(DataError, match=r"other pixels"):
        load_splits(tmp_path, input_size=5, train_images=30, seed=0, with_report=False, search_images=3).train.images[:]


def test_a_store_that_is_cut_while_a_training_reads_it_is_an_error(tmp_path, source, monkeypatch):
    splits = large_store(tmp_path, source, monkeypatch)
    budget = Budget(epochs=2, images=30, batch_size=8, learning_rate=0.01)
    feed = Feed(splits, budget, "cpu", TASK)
    batches = feed.shuffled(splits.train, torch.Generator().manual_seed(0))
    assert len(next(batches).images) == 8
    os.truncate(tmp_path / "train.images.bin", 75 * 3)
    with pytest.raises(
        DataError, match=r"was truncated while it was read: image \d+ ends at byte \d+, the file at 225"
    ):
        list(batches)


def test_a_store_that_is_replaced_while_it_is_read_gives_what_it_had(tmp_path, source, monkeypatch):
    images = large_store(tmp_path, source, monkeypatch).train.images
    before = images[:]
    (tmp_path / "new").write_bytes(bytes(75 * 30))
    (tmp_path / "new").replace(tmp_path / "train.images.bin")
    assert torch.equal(images[:], before)


def test_images_that_changed_are_no_failure_of_a_network(tmp_path, source, monkeypatch):
    splits = large_store(tmp_path, source, monkeypatch)
    setting = small_setting(images=10)
    setting = replace(setting, splits=splits, budget=replace(setting.budget, images=30))
    replace_image(tmp_path)
    arch = SPACE.build(SPACE.sample(lambda choice: choice.options[0]))
    with pytest.raises(DataError, match="other pixels"):
        run_trial(arch, setting, number=0, label="", seeds={"init": 0, "order": 0})


def test_stores_of_0_1_are_read_as_they_are(tmp_path, monkeypatch):
    folder = shutil.copytree(former_trees.FOLDER / "store", tmp_path / "store")
    source = open_source(folder)
    assert source.former == "264273590ffe247e"
    assert source.fingerprint.startswith("2:")
    splits = load_splits(folder, input_size=4, train_images=None, seed=0, with_report=True)
    decoded = open_source(former_trees.write_folder(tmp_path / "folder"))
    plan = plan_subset(decoded, size=4)
    assert (
        splits.train.images[0].permute(1, 2, 0).numpy()
        == decode_image(plan.splits["train"].part.open(int(plan.splits["train"].chosen[0])), 4)
    ).all()
    monkeypatch.setattr(store_source, "WHOLE", 0)
    assert torch.equal(open_source(folder).train.images[:], splits.train.images)
    assert open_source(folder).fingerprint == source.fingerprint
    replaced = folder / "search.images.bin"
    replaced.write_bytes(bytes(replaced.stat().st_size))
    assert open_source(folder).fingerprint != source.fingerprint
    assert open_source(folder).former == source.former


def test_a_store_of_0_1_is_recognised_by_its_command(tmp_path):
    plan = plan_subset(open_source(former_trees.write_folder(tmp_path / "folder")), size=4)
    folder = shutil.copytree(former_trees.FOLDER / "store", tmp_path / "store")
    before = content(folder)
    assert write_store(plan, folder).version == 1
    assert content(folder) == before
    new = write_store(plan, tmp_path / "new")
    assert (new.version, new.former) == (2, "264273590ffe247e")
    assert content(tmp_path / "new").items() >= {
        (name, value) for name, value in before.items() if name != "index.json"
    }


def test_a_store_that_0_1_began_goes_on(tmp_path):
    plan = plan_subset(open_source(former_trees.write_folder(tmp_path / "folder")), size=4)

    def stop(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        write_store(plan, tmp_path / "store", chunk=8, progress=stop)
    begun = json.loads((tmp_path / "store" / "plan.json").read_text())
    begun["version"], begun["source"]["fingerprint"] = 1, former_trees.FORMER["folder"]
    (tmp_path / "store" / "plan.json").write_text(json.dumps(begun))
    write_store(plan, tmp_path / "whole")
    write_store(plan, tmp_path / "store", chunk=8)
    assert content(tmp_path / "store") == content(tmp_path / "whole")


def test_a_source_of_one_s_own_needs_no_fingerprint_of_0_1(tmp_path):
    plan = plan_subset(drawn_source([5, 5, 5]), size=1)
    index = write_store(plan, tmp_path / "store")
    assert write_store(plan, tmp_path / "store") == index
