"""Ablation tables: from a file to networks, and from networks to cells with paired seeds."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from by_night import nightly_but
from hypothesis import example, given, settings
from hypothesis import strategies as st
from search_pieces import Anyhow, essence
from study_pieces import Onlooker, small_setting

from acmix_nas import files
from acmix_nas.arch import Arch
from acmix_nas.data import Images, load_splits
from acmix_nas.errors import SpaceError, StudyError
from acmix_nas.executors import Place, Work, make_executor
from acmix_nas.experiments.ablation import cells as module
from acmix_nas.experiments.ablation import load_ablation
from acmix_nas.experiments.ablation.carry import carry
from acmix_nas.experiments.ablation.cells import ablate, check_rows, reusable
from acmix_nas.record import StudyHeader
from acmix_nas.search import Study
from acmix_nas.space import load_space
from acmix_nas.study import load


@pytest.fixture(scope="module")
def setting():
    whole = small_setting(split="report", images=64)
    scored = whole.splits.report
    few = Images(images=scored.images[:100], targets=scored.targets[:100])
    return replace(whole, splits=replace(whole.splits, report=few))


@pytest.fixture
def two_rows(monkeypatch):
    """The table `shift` with two of its rows; timing full networks has tests of its own."""
    monkeypatch.setattr(module, "throughputs", lambda archs, **_options: (4, dict.fromkeys(archs, 10.0)))
    return rows_of(load_ablation("shift"), "shift", "full")


def rows_of(table, *names):
    return replace(table, rows={name: table.rows[name] for name in names}, baseline=names[0])


def study_of(table, out, seed=0, name=None):
    header = StudyHeader(
        name=name or table.name,
        kind="ablate",
        space=table.name,
        host="swin",
        split="report",
        baseline=table.baseline,
        rows=tuple(table.rows),
        seed=seed,
        settings={"rows": {name: arch.to_dict() for name, arch in table.rows.items()}},
    )
    return Study.create(out, header)


def test_cells_are_paired_by_seed_and_read_on_the_report_split(tmp_path, setting, two_rows):
    study = study_of(two_rows, tmp_path, seed=5)
    ablate(study, two_rows, setting, seeds=2, callbacks=Onlooker())
    cells = [(record.label, record.seeds["order"], record.split) for record in study.records()]
    assert cells == [("shift", 5, "report"), ("shift", 6, "report"), ("full", 5, "report"), ("full", 6, "report")]
    assert {record.environment["throughput_img_per_s"] for record in study.records()} == {10.0}


def test_full_networks_are_timed_when_all_cells_are_trained(tmp_path, setting, two_rows, monkeypatch):
    study, timed = study_of(two_rows, tmp_path), []

    def interrupted(archs, **_):
        timed.append((list(archs), len(study.records())))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "throughputs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ablate(study, two_rows, setting, seeds=1, callbacks=Onlooker())
    assert timed == [(["shift", "full"], 2)]
    ablate(study, two_rows, setting, seeds=1, callbacks=Onlooker(), throughput=False)
    assert len(timed) == 1
    monkeypatch.setattr(module, "throughputs", lambda archs, **_: (4, {"shift": 10.0, "full": 20.0}))
    onlooker = Onlooker()
    ablate(study, two_rows, setting, seeds=1, callbacks=onlooker)
    assert onlooker.begun == []
    assert "timing the full networks of 2 rows at 224 px" in " ".join(onlooker.notes)
    for records in (study.records(), load(study.folder)[1], Study.open(study.folder).records()):
        speeds = {record.label: record.environment["throughput_img_per_s"] for record in records}
        assert speeds == {"shift": 10.0, "full": 20.0}
        assert {record.environment["throughput_batch_size"] for record in records} == {4}


def test_more_seeds_and_rows_later_train_only_the_new_cells(tmp_path, setting, two_rows):
    study = study_of(two_rows, tmp_path)
    ablate(study, two_rows, setting, seeds=1, callbacks=Onlooker())
    before, later = study.records(), Onlooker()
    ablate(study, two_rows, setting, seeds=2, callbacks=later)
    assert later.begun == [(2, "shift, seed 1"), (3, "full, seed 1")]
    grown, last = rows_of(load_ablation("shift"), "shift", "learnable", "full"), Onlooker()
    ablate(Study.open(study.folder), grown, setting, seeds=2, callbacks=last)
    assert last.begun == [(4, "learnable, seed 0"), (5, "learnable, seed 1")]
    opened = Study.open(study.folder)
    assert opened.records()[:2] == before
    assert opened.header.rows == ("shift", "full", "learnable")


def test_a_row_keeps_its_network_and_a_study_its_baseline(tmp_path, setting, two_rows):
    study = study_of(two_rows, tmp_path)
    other = replace(two_rows, rows={**two_rows.rows, "full": load_ablation("shift").rows["learnable"]})
    with pytest.raises(StudyError, match="another network as row 'full'"):
        ablate(study, other, setting, seeds=1, callbacks=Onlooker())
    with pytest.raises(StudyError, match="started with the baseline 'shift', now it is 'full'"):
        ablate(study, replace(two_rows, baseline="full"), setting, seeds=1, callbacks=Onlooker())
    assert study.trials() == []


def test_an_interrupted_cell_is_trained_again(tmp_path, setting, two_rows):
    study = study_of(two_rows, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ablate(study, two_rows, setting, seeds=1, callbacks=Onlooker(interrupt_at=1))
    assert len(study.records()) == 1
    ablate(study, two_rows, setting, seeds=1, callbacks=Onlooker())
    assert [record.label for record in study.records()] == ["shift", "full"]


class Halting(Onlooker):
    """Interrupts a trial at the first step after its first epoch, and counts the steps of all."""

    def __init__(self, halted: int | None = None) -> None:
        super().__init__()
        self.halted = halted
        self.steps: list[int] = []

    def step(self, number, progress) -> None:
        self.steps.append(self.begun[-1][0])
        if self.begun[-1][0] == self.halted and len(progress.scores) == 1:
            raise KeyboardInterrupt


def test_a_halted_cell_goes_on_from_its_last_epoch_bit_by_bit(tmp_path, setting, two_rows):
    longer = replace(setting, budget=replace(setting.budget, epochs=3))
    whole, once = study_of(two_rows, tmp_path, name="whole"), Halting()
    ablate(whole, two_rows, longer, seeds=1, callbacks=once)
    halted, first, later = study_of(two_rows, tmp_path, name="halted"), Halting(1), Halting()
    with pytest.raises(KeyboardInterrupt):
        ablate(halted, two_rows, longer, seeds=1, callbacks=first)
    assert [path.name for path in (halted.folder / "checkpoints").iterdir()] == ["1.ckpt"]
    resumed = Study.open(halted.folder)
    ablate(resumed, two_rows, longer, seeds=1, callbacks=later)
    assert later.begun == [(1, "full, seed 0")]
    assert len(later.steps) == once.steps.count(1) * 2 // 3, "only two of its three epochs are left"
    assert not (halted.folder / "checkpoints").exists()
    for record, expected in zip(resumed.records(), whole.records(), strict=True):
        assert replace(record, started="", seconds=0) == replace(expected, started="", seconds=0)


def test_cells_of_another_study_are_taken_over(tmp_path, setting, two_rows):
    first = study_of(two_rows, tmp_path)
    ablate(first, two_rows, setting, seeds=1, callbacks=Onlooker())
    again = replace(two_rows, name="again", rows={"one": two_rows.rows["full"], "two": two_rows.rows["shift"]})
    again = replace(again, baseline="two")
    second = study_of(again, tmp_path)
    reused = reusable(first.header, first.records(), setting=setting)
    ablate(second, again, replace(setting, budget=None), seeds=1, callbacks=Onlooker(), reused=reused)
    taken = {record.label: record for record in second.records()}
    assert taken["one"].scores == first.records()[1].scores
    assert taken["one"].environment["reused_from"] == "shift:1"
    assert [record.number for record in second.records()] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": "search"}, "split"),
        (
            {"environment": {"device_name": "another"}},
            r"environment.device_name = \"test\", this table has \"another\"",
        ),
        ({"budget": "epochs"}, "budget.epochs = 1, this table has 2"),
        ({"proxy": "width"}, "proxy.width"),
    ],
)
def test_cells_that_do_not_match_are_refused(tmp_path, setting, two_rows, changes, said):
    study = study_of(two_rows, tmp_path)
    ablate(study, rows_of(two_rows, "shift"), setting, seeds=1, callbacks=Onlooker())
    if changes.get("budget"):
        changes = {"budget": replace(setting.budget, epochs=2)}
    elif changes.get("proxy"):
        changes = {"proxy": replace(setting.proxy, width=0.5)}
    with pytest.raises(StudyError, match=said):
        reusable(study.header, study.records(), setting=replace(setting, **changes))


def test_a_study_without_a_trial_gives_nothing(tmp_path, setting, two_rows):
    with pytest.raises(StudyError, match="no complete trial"):
        reusable(study_of(two_rows, tmp_path).header, [], setting=setting)


def test_rows_with_the_same_proxy_network_share_a_score(tmp_path, setting, monkeypatch):
    monkeypatch.setattr(module, "throughputs", lambda archs, **_options: (4, dict.fromkeys(archs, 10.0)))
    table = rows_of(load_ablation("window"), "attn_kernel 7", "attn_kernel 9")
    small = {setting.proxy.shrink(arch) for arch in table.rows.values()}
    assert len(small) == 1, "the maps of this proxy have no room for the larger window"
    study = study_of(table, tmp_path)
    ablate(study, table, setting, seeds=2, callbacks=Onlooker())
    first, second, third, fourth = study.records()
    assert (third.shared_with, fourth.shared_with) == (first.number, second.number)
    assert third.scores == first.scores
    assert third.arch != first.arch


@settings(max_examples=settings.default.max_examples // 6)
@example(seed=1181, workers=3)
@given(seed=st.integers(0, 2**31), workers=st.integers(1, 7))
def test_cells_are_the_same_whatever_ends_first_and_is_lost(setting, seed, workers):
    """Two of the rows have one proxy network: its cells are trained once, and shared when they have ended."""
    table = rows_of(load_ablation("window"), "attn_kernel 5", "attn_kernel 7", "attn_kernel 9")
    with TemporaryDirectory() as out, patch.object(module, "throughputs", lambda archs, **_: (4, {})):
        study, executor = study_of(table, Path(out)), Anyhow(setting, seed, workers=workers, lost=0.1)
        ablate(study, table, setting, seeds=2, callbacks=Onlooker(), executor=executor)
        records = study.records()
    assert [(record.label, record.seeds["init"]) for record in records] == [
        (row, s) for row in table.rows for s in (0, 1)
    ]
    for cell, twin in zip(records[4:], records[2:4], strict=True):  # one that was lost too often has no score to share
        shared = twin.status == "complete"
        assert cell.shared_with == (twin.number if shared else None)
        assert not shared or cell.scores == twin.scores
    assert [record.shared_with for record in records[:4]] == [None] * 4


@pytest.mark.slow
@pytest.mark.nightly  # a search has two in test_executors.py
def test_two_workers_train_what_one_does(tmp_path, setting, two_rows):
    few = partial(load_splits, None, input_size=28, train_images=24, seed=0, with_report=True, search_images=30)
    shared = replace(setting, splits=few(), environment={})
    studies = [study_of(two_rows, tmp_path, name=name) for name in ("one", "two")]
    for study, places in zip(studies, ([Place(1)], [Place(1)] * 2), strict=True):
        work = Work.of(shared, load=few, source=None)
        executor = make_executor("serial" if len(places) == 1 else "process", work, places)
        ablate(study, two_rows, shared, seeds=2, callbacks=Onlooker(), executor=executor)
    one, two = ([{**row, "environment": None} for row in essence(study)] for study in studies)
    assert len(one) == 4
    assert one == two


def test_an_unbuildable_row_is_refused_before_training(tmp_path, setting, two_rows):
    broken = {**two_rows.rows, "odd": with_heads(two_rows.rows["full"], 5)}
    with pytest.raises(SpaceError, match=r"row 'odd' of shift cannot be built: .*5.*Leave it out"):
        check_rows(replace(two_rows, rows=broken), setting)


def with_heads(arch, num_heads):
    stages = [[mixer.having(num_heads=num_heads) for mixer in stage] for stage in arch.stages]
    return Arch.canonical(host=arch.host, stages=stages, conv_on=arch.conv_on)


EMPTY = {("conv_on", "resnet"), ("conv_on", "san"), ("conv_on", "pvt"), ("window", "pvt")}
"""Tables whose fields have no effect on a host."""


@pytest.mark.slow
@pytest.mark.parametrize("host", ["swin", "resnet", "san", "pvt"])
@pytest.mark.parametrize("name", files.space_names("ablations"))
@pytest.mark.parametrize("proxy", nightly_but("cpu", of=("cpu", "gpu", "dense_cpu", "dense_gpu")))
def test_every_table_builds_on_every_host_at_every_proxy(name, host, proxy, setting):
    if (name, host) in EMPTY:
        with pytest.raises(SpaceError, match="nothing can be compared"):
            load_ablation(name, host=host)
        return
    table = load_ablation(name, host=host)
    few = replace(table, rows=dict(list(table.rows.items())[:: max(1, len(table.rows) // 4)]))
    smaller = replace(setting, proxy=table.space.proxies[proxy])
    if (name, host) == ("heads", "san"):
        with pytest.raises(SpaceError, match="cannot be built: num_heads divides"):
            check_rows(few, smaller)
    else:
        check_rows(few, smaller)


SPACES = [load_space(name) for name in ("swin_t", "resnet26", "san10", "pvt_tiny")]


@given(st.data())
def test_a_carried_network_keeps_what_the_host_knows(data):
    source, target = data.draw(st.permutations(SPACES))[:2]
    base = source.build(source.sample(lambda choice: data.draw(st.sampled_from(choice.options))))
    arch, lost = carry(base, target, source.widths)
    assert (arch.host, arch.depths) == (target.host, target.depths)
    assert lost
    for mixer, original in zip(reversed(arch.stages), reversed(base.stages), strict=False):
        if original[0].operator == "acmix":
            kept = ("combine", "conv_kernel", "conv_impl", "conv_init")
            assert [getattr(mixer[0], name) for name in kept] == [getattr(original[0], name) for name in kept]
