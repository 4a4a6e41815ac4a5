"""Fidelity of a proxy: rank correlations, the sample, and what is stored."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from study_pieces import SPACE, tiny_space

from acmix_nas.cost import count
from acmix_nas.errors import StudyError, UsageError
from acmix_nas.executors import jobs
from acmix_nas.experiments import zero_cost
from acmix_nas.experiments.fidelity import (
    FidelityCallbacks,
    FidelityOptions,
    measure_fidelity,
    prepare_fidelity,
    sample_archs,
)
from acmix_nas.experiments.rank_correlation import agreement
from acmix_nas.experiments.stored_fidelity import find_fidelity, learned_of
from acmix_nas.record import TrialRecord
from acmix_nas.tasks import pick_metric
from acmix_nas.train.zero_cost import SCORES

PROXY = replace(SPACE.proxies["cpu"], input_size=28, patch_size=4, epochs=1, images=20)


def prepared(out, space=SPACE, proxy=PROXY, **values):
    proxy = replace(proxy, epochs=values.get("epochs", proxy.epochs))
    return prepare_fidelity(FidelityOptions(space=space.name, out=out, **values), space, proxy, "cpu")


@pytest.fixture
def trained(monkeypatch) -> list[tuple[str, str]]:
    """(label, arch id) of every training, which is not done: the score follows from parameters and epochs."""
    done = []

    def run_trial(arch, setting, *, number, label, seeds, **_):
        done.append((label, arch.id))
        cost = count(arch, 224)
        top1 = 1 / (1 + cost.params / 1e8) if label == "large" else 1 / (1 + cost.macs / 1e10)
        return TrialRecord(
            number=number,
            status="complete",
            arch=arch,
            cost=cost,
            label=label,
            split=setting.split,
            scores=(0.0,) * (setting.budget.epochs - 1) + (top1,),
            losses=(1.0,) * setting.budget.epochs,
            mixing=(),
            seeds=seeds,
            budget=setting.budget.to_dict(),
            proxy=setting.proxy.to_dict(),
            data=setting.splits.to_dict(),
            environment={},
            started="",
            seconds=0.0,
            task=setting.task,
            metric=pick_metric(setting.learned, setting.metric).name,
            head=setting.head_facts,
        )

    monkeypatch.setattr(jobs, "run_trial", run_trial)
    monkeypatch.setattr(zero_cost, "zero_cost_scores", cheap_scores)  # has tests of its own
    return done


def cheap_scores(arch, setting, *, seed):
    """One of each name, of the network alone."""
    return {name: float(int(arch.id, 16) % (number + 7)) for number, name in enumerate(SCORES)}


@settings(max_examples=8)
@given(order=st.permutations(range(8)))
def test_correlations_are_those_of_their_definitions(order):
    found = agreement(range(8), order)
    squares = sum((i - j) ** 2 for i, j in enumerate(order))
    pairs = [np.sign(order[j] - order[i]) for i, j in combinations(range(8), 2)]
    assert found.spearman.value == pytest.approx(1 - 6 * squares / (8 * 63))
    assert found.kendall.value == pytest.approx(np.mean(pairs))
    for part in (found.spearman, found.kendall):
        assert -1 - 1e-9 <= part.low <= part.high <= 1 + 1e-9


@settings(max_examples=15)
@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=9))
def test_correlations_with_ties_are_scipy_s(pairs):
    first, second = map(list, zip(*pairs, strict=True))
    found = agreement(first, second)
    if len({*first}) > 1 and len({*second}) > 1:
        assert found.spearman.value == pytest.approx(stats.spearmanr(first, second).statistic)
        assert found.kendall.value == pytest.approx(stats.kendalltau(first, second).statistic)
    else:
        assert (found.spearman.value, found.kendall.value) == (0, 0)


def test_intervals_hold_the_estimate_are_seeded_and_narrow_with_more_pairs():
    generator = np.random.default_rng(0)
    values = generator.normal(size=60)
    noisy = values + generator.normal(size=60)
    few, many = agreement(values[:10], noisy[:10]), agreement(values, noisy)
    for part in (few.spearman, many.spearman, many.kendall):
        assert part.low <= part.value <= part.high
    assert many.spearman.high - many.spearman.low < few.spearman.high - few.spearman.low
    assert agreement(values[:10], noisy[:10]) == few != agreement(values[:10], noisy[:10], seed=1)


def test_values_that_are_all_the_same_order_nothing():
    found = agreement([1, 1, 1, 1], [1, 2, 3, 4])
    assert (found.spearman.value, found.spearman.low, found.spearman.high) == (0, 0, 0)


def test_the_sample_is_nested_seeded_and_without_twins():
    small, large = (sample_archs(SPACE, PROXY, count, 3) for count in (5, 12))
    assert small == large[:5]
    assert len({PROXY.shrink(arch) for arch in large}) == 12
    assert small != sample_archs(SPACE, PROXY, 5, 4)
    with pytest.raises(UsageError, match=r"tells \d+ apart in .*; 40 were asked for\. Give fewer --archs"):
        sample_archs(tiny_space(), PROXY, 40, 0)


def test_each_network_is_trained_twice_once(tmp_path, trained):
    found = measure_fidelity(prepared(tmp_path), archs=5)
    archs = [arch.id for arch in sample_archs(SPACE, PROXY, 5, 0)]
    assert trained == [(label, arch) for label in ("cheap", "large") for arch in archs]
    assert (found.archs, found.failed, found.cheap["epochs"], found.large["epochs"]) == (5, 0, 1, 3)
    assert found.agreements["params"].spearman.value == pytest.approx(-1)
    again = measure_fidelity(prepared(tmp_path), archs=5)
    assert again == found
    assert len(trained) == 10
    more = measure_fidelity(prepared(tmp_path), archs=6)
    assert (more.archs, len(trained)) == (6, 12)
    measure_fidelity(prepared(tmp_path, epochs_large=7), archs=5)
    assert [label for label, _ in trained[12:]] == ["large"] * 5


def test_orders_are_compared_over_all_and_over_the_better_half(tmp_path, trained):
    found = measure_fidelity(prepared(tmp_path), archs=8)
    assert list(found.agreements) == ["proxy", "params", "macs", "synflow", "naswot", "zico", "jacov"]
    records = {label: {item.arch_id: item.score for item in _stored(tmp_path, label)} for label in ("cheap", "large")}
    best = sorted(records["large"], key=records["large"].get)[4:]
    pairs = [[records[label][arch] for arch in best] for label in ("cheap", "large")]
    assert found.better_half["proxy"].spearman.value == pytest.approx(stats.spearmanr(*pairs).statistic)
    assert found.better_half["params"].spearman.value == pytest.approx(-1)
    assert find_fidelity(tmp_path, SPACE, PROXY, prepared(tmp_path).setting("cheap").splits) == found
    assert len((_folder(tmp_path) / "scores.jsonl").read_text().splitlines()) == 8


def _folder(out):
    return next((out / "fidelity").iterdir())


def _stored(out, label=None):
    found = map(TrialRecord.from_json, (_folder(out) / "records.jsonl").read_text().splitlines())
    return [record for record in found if label in (None, record.label)]


def test_the_ceiling_is_the_large_training_with_the_next_seed(tmp_path, trained):
    found = measure_fidelity(prepared(tmp_path, epochs=2), archs=5, ceiling=True)
    assert [label for label, _ in trained] == ["cheap"] * 5 + ["large"] * 10
    lines = _stored(tmp_path)
    assert [item.seeds["init"] for item in lines] == [0] * 10 + [1] * 5
    assert sorted(item.number for item in lines) == list(range(15))
    assert found.agreements["ceiling"].spearman.value == pytest.approx(1)  # here scores depend on no seed
    assert found.agreements["first_epoch"].spearman.value == 0  # and the first epoch says nothing
    without = measure_fidelity(prepared(tmp_path, epochs=2), archs=5)
    assert len(trained) == 15
    assert "ceiling" in without.agreements  # it was trained


def test_a_summary_of_0_1_is_read(tmp_path, trained):
    found = measure_fidelity(prepared(tmp_path), archs=4)
    (file,) = _folder(tmp_path).glob("summary-*.json")
    values = json.loads(file.read_text())
    del values["better_half"]
    values["agreements"] = {name: values["agreements"][name] for name in ("proxy", "params", "macs")}
    file.write_text(json.dumps(values))
    former = find_fidelity(tmp_path, SPACE, PROXY, prepared(tmp_path).setting("cheap").splits)
    assert former.agreements == {name: found.agreements[name] for name in ("proxy", "params", "macs")}
    assert former.better_half == {}


def test_an_interrupt_keeps_stored_pairs_and_retrains_a_torn_line(tmp_path, trained):
    trainings = prepared(tmp_path)

    class Interrupts(FidelityCallbacks):
        def begin(self, number, count, name):
            if number == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_fidelity(trainings, archs=4, callbacks=Interrupts())
    records = trainings.folder / "records.jsonl"
    assert len(records.read_text().splitlines()) == 5
    records.write_text(records.read_text()[:-30])
    assert not list(trainings.folder.glob("summary-*"))
    measure_fidelity(trainings, archs=4)
    assert len(trained) == 5 + 4
    assert [TrialRecord.from_json(line).number for line in records.read_text().splitlines()] == [0, 2, 4, 6, 1, 3, 5, 7]


def test_a_line_that_is_no_record_is_named(tmp_path, trained):
    measure_fidelity(prepared(tmp_path), archs=4)
    file = _folder(tmp_path) / "records.jsonl"
    text = file.read_bytes()
    for line in (b"{}\n", b"\xff\n"):
        file.write_bytes(text + line)
        with pytest.raises(StudyError, match=r"records\.jsonl.* Remove that line"):
            measure_fidelity(prepared(tmp_path), archs=4)


def test_a_search_finds_the_fidelity_of_its_space_proxy_and_images(tmp_path, trained):
    trainings = prepared(tmp_path)
    splits = trainings.setting("cheap").splits
    assert find_fidelity(tmp_path, SPACE, PROXY, splits) is None
    few, many = (measure_fidelity(trainings, archs=count) for count in (4, 6))
    assert find_fidelity(tmp_path, SPACE, PROXY, splits) == many != few
    assert find_fidelity(tmp_path, SPACE, replace(PROXY, epochs=2), splits) is None
    assert find_fidelity(tmp_path, SPACE, replace(PROXY, images=21), splits) is None
    assert find_fidelity(tmp_path, tiny_space(), PROXY, splits) is None
    assert find_fidelity(tmp_path, SPACE, PROXY, replace(splits, fingerprint="2:0", former="")) is None


def test_what_was_measured_counts_for_its_task_head_and_metric_alone(tmp_path, trained):
    asked = {"task": "segmentation", "head": "semantic_fpn"}
    trainings = prepared(tmp_path, **asked)
    setting = trainings.setting("cheap")
    found = measure_fidelity(trainings, archs=4)
    assert found.learned["head"]["name"] == "semantic_fpn"
    assert found.learned["metric"] == "miou"
    assert measure_fidelity(prepared(tmp_path, **asked), archs=4) == found
    assert len(trained) == 8
    facts = (tmp_path, SPACE, PROXY, setting.splits)
    assert find_fidelity(*facts, learned_of(setting)) == found
    assert find_fidelity(*facts) is None
    assert find_fidelity(*facts, learned_of(replace(setting, head="upernet"))) is None
    assert find_fidelity(*facts, learned_of(replace(setting, metric="pixel_accuracy"))) is None
    measure_fidelity(prepared(tmp_path, **{**asked, "head": "upernet"}), archs=4)
    assert len(trained) == 16


FAILED = {"status": "failed", "error": "out of memory", **dict.fromkeys(("scores", "losses", "mixing", "norms"), ())}


def test_failed_networks_are_left_out_and_too_few_are_refused(tmp_path, trained, monkeypatch):
    run = jobs.run_trial
    bad = {arch.id for arch in sample_archs(SPACE, PROXY, 5, 0)[:1]}

    def failing(arch, setting, **values):
        record = run(arch, setting, **values)
        return replace(record, **FAILED) if arch.id in bad else record

    monkeypatch.setattr(jobs, "run_trial", failing)
    with pytest.raises(StudyError, match=r"4 networks or more; 3 were trained. The first failed: out of memory"):
        measure_fidelity(prepared(tmp_path), archs=4)
    found = measure_fidelity(prepared(tmp_path), archs=5)
    assert (found.archs, found.failed) == (4, 1)


def test_the_large_training_must_be_larger(tmp_path):
    with pytest.raises(UsageError, match=r"more images than the proxy's 1 x 20; 1 x 20 is not more"):
        prepared(tmp_path, epochs_large=1)
    assert prepared(tmp_path, epochs_large=1, images_large=30).setting("large").budget.images == 30
