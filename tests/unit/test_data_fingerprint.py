"""Fingerprints see what is in the images, and nothing of the machine; those of 0.1 compare by their own rule."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import former_trees
import numpy as np
import pytest
import torch
from data_kinds import KINDS
from data_trees import files, packed
from hypothesis import given
from hypothesis import strategies as st
from study_pieces import SPACE, small_setting

from acmix_nas import __version__
from acmix_nas.data import fingerprint as fingerprint_module
from acmix_nas.data import load_splits, open_source
from acmix_nas.data.fingerprint import Content, blocks_of_array, fingerprint, sample
from acmix_nas.data.sources import _walk
from acmix_nas.errors import DataError, StudyError
from acmix_nas.executors import Work
from acmix_nas.experiments.fidelity import FidelityOptions, prepare_fidelity
from acmix_nas.experiments.options import StudyOptions
from acmix_nas.experiments.repeat import work_of
from acmix_nas.experiments.setup import find_study, load_work, settings_of
from acmix_nas.experiments.stored_fidelity import find_fidelity
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.facts import check_comparable
from acmix_nas.search import Study
from acmix_nas.search.warm import _reason_against
from acmix_nas.study.settings import check_same

IMAGE = "train/bee/3.png"


def other_content(content: bytes) -> bytes:
    """As many bytes, one of them another."""
    return content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]


@pytest.mark.parametrize("kind", KINDS)
def test_changed_content_of_the_same_size_is_another_source(tmp_path, kind):
    first = open_source(KINDS[kind](tmp_path / "a"))
    changed = {**files(), IMAGE: other_content(files()[IMAGE])}
    second = open_source(KINDS[kind](tmp_path / "b", changed))
    assert first.fingerprint.startswith("2:")
    assert first.fingerprint != second.fingerprint
    if "parquet" not in kind:  # whose files may have another size once compressed
        assert first.former == second.former


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_have_one_fingerprint_at_any_place_and_time(tmp_path, monkeypatch, kind):
    spec = KINDS[kind](tmp_path / "a")
    first = open_source(spec).fingerprint
    moved = shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "b", copy_function=shutil.copy)
    for file in moved.rglob("*"):
        os.utime(file, (1e9, 1e9))
    spec = spec.replace(str(tmp_path / "a"), str(moved))
    assert open_source(spec).fingerprint == first
    monkeypatch.chdir(moved)
    assert open_source(spec.replace(f"{moved}/", "").replace(str(moved), ".")).fingerprint == first


def test_two_images_that_change_places_are_another_source(tmp_path):
    first = open_source(former_trees.write_folder(tmp_path))
    ant, bee = (tmp_path / "train" / name / "0.png" for name in ("ant", "bee"))
    assert ant.stat().st_size == bee.stat().st_size
    contents = ant.read_bytes(), bee.read_bytes()
    bee.write_bytes(contents[0])
    ant.write_bytes(contents[1])
    second = open_source(tmp_path)
    assert second.fingerprint != first.fingerprint
    assert second.former == first.former


def test_the_order_of_names_is_not_that_of_the_disk(tmp_path, monkeypatch):
    for part in ("train", "val"):
        for name in ("ant", "bee"):
            (tmp_path / part / name).mkdir(parents=True)
            for number, file in enumerate(("1.png", "01.png", "001.png", "a1.png", "A1.png", "5\u00b26.png")):
                (tmp_path / part / name / file).write_bytes(packed(number))
    scan = os.scandir
    orders = []
    for reverse in (False, True):

        class Entries(list):
            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

        monkeypatch.setattr(
            _walk.os,
            "scandir",
            lambda path, reverse=reverse: Entries(sorted(scan(path), key=lambda e: e.name, reverse=reverse)),
        )
        source = open_source(tmp_path)
        orders.append(([source.train.name(index) for index in range(12)], source.fingerprint))
    assert orders[0] == orders[1]


def test_the_fingerprints_of_the_rule_are_these(tmp_path):
    """A change of the rule is a new version, never another value of this one."""
    marks = {kind: open_source(make(tmp_path / kind)).fingerprint for kind, make in former_trees.MAKERS.items()}
    assert marks == {"folder": "2:7ac22f26e50786bd", "tar": "2:17737d60dc966e69", "shards": "2:fb939fced8fca57b"}


def test_the_former_rule_gives_what_0_1_gave(tmp_path):
    marks = {kind: open_source(make(tmp_path / kind)).former for kind, make in former_trees.MAKERS.items()}
    assert marks == former_trees.FORMER


@given(sizes=st.lists(st.integers(-1, 3000), min_size=1, max_size=200))
def test_a_sample_is_all_or_as_much_as_is_read_and_spread(sizes):
    sizes = np.array(sizes, dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint_module, "WHOLE", 20_000)
        chosen = sample(sizes)
    total = sizes.clip(min=0).sum()
    assert (np.diff(chosen) > 0).all()
    if total <= 20_000:
        assert len(chosen) == len(sizes)
    else:
        assert 20_000 - 3000 <= sizes[chosen].clip(min=0).sum() <= 20_000


def test_a_sample_is_spread_over_all_pieces():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint_module, "WHOLE", 1000)
        chosen = sample(np.full(100_000, 10))
    assert len(chosen) == 100
    assert np.diff(chosen).max() < 3 * 100_000 / 100


def test_of_large_sources_all_sizes_and_a_sample_of_the_content_count(monkeypatch):
    monkeypatch.setattr(fingerprint_module, "WHOLE", 200)
    contents = [bytes([number] * 10) for number in range(100)]
    read = []

    def mark(pieces: list[bytes]) -> str:
        def get(index: int) -> bytes:
            read.append(index)
            return pieces[index]

        sizes = np.array([len(piece) for piece in pieces], dtype=np.int64)
        part = Content(labels=np.zeros(len(pieces), np.int64), names=(), sizes=sizes, read=get)
        return fingerprint(("a", "b"), [part])

    first = mark(contents)
    seen = sorted(read)
    assert len(seen) == 20
    unseen = next(index for index in range(100) if index not in seen)
    changed = [*contents]
    changed[unseen] = b"x" * 10
    assert mark(changed) == first
    changed[unseen] = b"x" * 11
    assert mark(changed) != first
    changed = [*contents]
    changed[seen[0]] = b"x" * 10
    assert mark(changed) != first


def test_classes_labels_and_shapes_count():
    images = np.zeros((6, 2, 2), np.uint8)
    labels = np.arange(6) % 2
    first = fingerprint(("a", "b"), [blocks_of_array(images, labels)])
    assert fingerprint(("a", "c"), [blocks_of_array(images, labels)]) != first
    assert fingerprint(("a", "b"), [blocks_of_array(images, 1 - labels)]) != first
    assert fingerprint(("a", "b"), [blocks_of_array(images.reshape(6, 4, 1), labels)]) != first


def test_unreadable_files_do_not_end_a_fingerprint(tmp_path):
    former_trees.write_folder(tmp_path)
    os.mkfifo(tmp_path / "train" / "ant" / "pipe.png")
    (tmp_path / "train" / "ant" / "nowhere.png").symlink_to("nothing")
    assert open_source(tmp_path).fingerprint.startswith("2:")


def former_header(**changes) -> StudyHeader:
    stored = json.loads((former_trees.FOLDER / "header.json").read_text())
    return StudyHeader.from_dict({**stored, "version": __version__, **changes})


def former_record() -> TrialRecord:
    return TrialRecord.from_dict(json.loads((former_trees.FOLDER / "record.json").read_text()))


def resume(out: Path, source: Path):
    header = former_header()
    return prepared(StudyOptions(out=out, study=header.name, resume=True, data=str(source)))


def prepared(options: StudyOptions) -> Work:
    """The study of these options, made or resumed: what its trials share."""
    study, options = find_study(options, "swin_t")
    work, setting = load_work(options, SPACE, study, split="search", device="cpu")
    if study:
        check_same(study.header, settings_of(setting))
    else:
        settings = {**settings_of(setting), "asked": options.remembered()}
        header = StudyHeader(
            name=options.study,
            kind="search",
            space="swin_t",
            host="swin",
            split="search",
            version=__version__,
            settings=settings,
        )
        Study.create(options.out, header)
    return work


def test_a_study_of_0_1_is_resumed_by_its_own_rule(tmp_path, monkeypatch):
    source = former_trees.write_folder(tmp_path / "folder")
    header = former_header()
    monkeypatch.setattr(
        "acmix_nas.train.recipe.supports_bf16", lambda _: header.settings["budget"]["precision"] == "bf16"
    )
    Study.create(tmp_path, header)
    for content in (None, former_trees.plain_png(999)):
        if content:  # which the old rule does not see
            (source / IMAGE).write_bytes(content)
        work = resume(tmp_path, source)
        assert work.setting.splits.fingerprint == former_trees.FORMER["folder"]
        assert work.setting.splits.to_dict() == former_record().data
        assert work.load().fingerprint == former_trees.FORMER["folder"]  # in a worker
    (source / IMAGE).write_bytes(former_trees.plain_png(999, extent=9))
    with pytest.raises(StudyError, match=rf"data = .*{former_trees.FORMER['folder']}"):
        resume(tmp_path, source)


def test_changed_content_does_not_go_on_in_a_study_of_today(tmp_path):
    source = former_trees.write_folder(tmp_path / "folder")
    asked = StudyOptions(out=tmp_path, study="study", data=str(source))
    prepared(asked)
    assert Study.open(tmp_path / "study").header.settings["data"].startswith("2:")
    prepared(replace(asked, resume=True))
    (source / IMAGE).write_bytes(former_trees.plain_png(999))
    with pytest.raises(StudyError, match=r"data = .*2:.*, now it is .*2:"):
        prepared(replace(asked, resume=True))


def test_a_record_of_0_1_is_repeated_and_brought_by_its_own_rule(tmp_path):
    source = former_trees.write_folder(tmp_path / "folder")
    record = former_record()
    threads = torch.get_num_threads()
    try:
        work = work_of(former_header(), record, data=str(source), device="cpu")
    finally:
        torch.set_num_threads(threads)
    assert work.setting.splits.to_dict() == record.data
    (source / IMAGE).write_bytes(former_trees.plain_png(999, extent=9))
    with pytest.raises(DataError, match="fingerprint"):
        work_of(former_header(), record, data=str(source), device="cpu")


def test_scores_of_0_1_are_brought_into_a_study_on_the_same_images(tmp_path):
    source = former_trees.write_folder(tmp_path / "folder")
    record = former_record()
    splits = load_splits(source, input_size=28, train_images=None, seed=0, with_report=False)
    setting = replace(small_setting(), splits=splits)
    assert not str(_reason_against(record, SPACE, setting, former_header())).startswith("data")
    (source / IMAGE).write_bytes(former_trees.plain_png(999, extent=9))
    splits = load_splits(source, input_size=28, train_images=None, seed=0, with_report=False)
    assert str(_reason_against(record, SPACE, replace(setting, splits=splits), former_header())).startswith(
        "data.fingerprint is"
    )


def test_records_of_both_fingerprint_rules_share_a_table(tmp_path):
    splits = load_splits(
        former_trees.write_folder(tmp_path), input_size=28, train_images=None, seed=0, with_report=False
    )
    old = former_record()
    new = replace(old, number=1, data=splits.to_dict())
    check_comparable(former_header(), [old, new])
    check_comparable(former_header(), [new, old])
    for data in ({"former": "0" * 16}, {"fingerprint": "2:" + "0" * 16}):
        other = replace(new, number=2, data={**new.data, **data})
        with pytest.raises(Exception, match="data fingerprint"):
            check_comparable(former_header(), [old if "former" in data else new, other])


def test_fidelity_that_0_1_measured_is_found(tmp_path):
    asked = (FidelityOptions(space="swin_t", out=tmp_path), SPACE, SPACE.proxies["cpu"], "cpu")
    made = prepare_fidelity(*asked)
    assert made.folder.name == "swin_t-" + made.setting("cheap").splits.fingerprint.replace(":", "-")
    (tmp_path / "fidelity" / "swin_t-0b47cea0f0c4c830").mkdir(parents=True)
    again = prepare_fidelity(*asked)
    assert again.folder.name == "swin_t-0b47cea0f0c4c830"
    assert again.setting("cheap").splits.fingerprint == "0b47cea0f0c4c830"
    assert find_fidelity(tmp_path, SPACE, SPACE.proxies["cpu"], made.setting("cheap").splits) is None
