"""Ablation tables: each row one change of a base network, cells with paired seeds."""

from dataclasses import replace

import pytest
import torch
from study_pieces import Onlooker, small_setting

from acmix_nas import ablate as module
from acmix_nas import files
from acmix_nas.ablate import ablate, load_ablation
from acmix_nas.arch import COMBINE, CONV_IMPL
from acmix_nas.errors import SpaceError
from acmix_nas.record import StudyHeader
from acmix_nas.search import Study


@pytest.fixture(scope="module")
def setting():
    torch.set_num_threads(1)
    return small_setting(split="report")


@pytest.fixture
def two_rows(monkeypatch):
    """The table `shift` with two of its rows; timing full networks has tests of its own."""
    monkeypatch.setattr(module, "throughputs", lambda archs, **_options: dict.fromkeys(archs, 10.0))
    table = load_ablation("shift")
    return replace(table, rows={name: table.rows[name] for name in ("shift", "full")})


def study_of(table, out, seed=0):
    header = StudyHeader(
        name=table.name,
        kind="ablate",
        space=table.name,
        host="swin",
        split="report",
        baseline=table.baseline,
        rows=tuple(table.rows),
        seed=seed,
    )
    return Study.create(out, header)


@pytest.mark.parametrize("name", files.space_names("ablations"))
def test_every_table_reads_and_its_rows_are_different_networks(name):
    table = load_ablation(name)
    assert table.baseline in table.rows
    assert table.summary
    assert len({arch.id for arch in table.rows.values()}) == len(table.rows)


def test_combine_has_the_nine_rules_and_shift_the_four_implementations():
    rules = [{mixer.combine for mixer in arch.mixers} for arch in load_ablation("combine").rows.values()]
    assert rules == [{rule} for rule in COMBINE]
    impls = [{mixer.conv_impl for mixer in arch.mixers} for arch in load_ablation("shift").rows.values()]
    assert impls == [*({impl} for impl in CONV_IMPL), {"full"}]


def test_cells_are_paired_by_seed_and_read_on_the_report_split(tmp_path, setting, two_rows):
    study = study_of(two_rows, tmp_path, seed=5)
    ablate(study, two_rows, setting, seeds=2, watcher=Onlooker())
    cells = [(record.label, record.seeds["order"], record.split) for record in study.records()]
    assert cells == [("shift", 5, "report"), ("full", 5, "report"), ("shift", 6, "report"), ("full", 6, "report")]
    assert {record.environment["throughput_img_per_s"] for record in study.records()} == {10.0}


def test_more_seeds_later_train_only_the_new_cells(tmp_path, setting, two_rows):
    study = study_of(two_rows, tmp_path)
    ablate(study, two_rows, setting, seeds=1, watcher=Onlooker())
    before, later = study.records(), Onlooker()
    ablate(study, two_rows, setting, seeds=2, watcher=later)
    assert later.ended == [2, 3]
    assert study.records()[:2] == before


def test_an_interrupted_cell_is_trained_again(tmp_path, setting, two_rows):
    study = study_of(two_rows, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ablate(study, two_rows, setting, seeds=1, watcher=Onlooker(interrupt_at=1))
    assert len(study.records()) == 1
    ablate(study, two_rows, setting, seeds=1, watcher=Onlooker())
    assert [record.label for record in study.records()] == ["shift", "full"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("space: swin_t", "space: swin_x", "no space"),
        ("base: paper", "base: mine", "base"),
        ("baseline: shift", "baseline: none", "baseline"),
        ("{conv_impl: learnable}", "{conv_impl: fft}", "conv_impl"),
        ("{conv_impl: learnable}", "{kernel: 3}", "kernel"),
    ],
)
def test_a_wrong_table_is_one_error(tmp_path, old, new, said):
    text = files.find_space("shift", "ablations").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(SpaceError, match=said):
        load_ablation(file)
