"""A recorded trial trained again: equal, within chance, or not."""

from dataclasses import replace

import pytest
from report_records import make_ablation, make_failed, make_record
from study_pieces import small_setting

from acmix_nas.errors import DataError
from acmix_nas.experiments.repeat import changed_environment, compare, repeat, work_of
from acmix_nas.record import StudyHeader
from acmix_nas.train import run_trial

HEADER = StudyHeader(name="s", kind="search", space="swin_t", host="swin", split="search")


def counted(record, images=2000):
    return replace(record, data={**record.data, "counts": {"search": images, "report": images}})


def test_equal_scores_are_equal():
    told = compare(make_record(), make_record(seconds=99.0))
    assert (told.equal, told.within, told.difference) == (True, True, 0.0)
    assert told.message.startswith("equal: top-1 0.8400")


@pytest.mark.parametrize(("points", "within"), [(1.0, True), (-2.2, True), (2.4, False), (-3.0, False)])
def test_the_interval_is_that_of_two_binomials(points, within):
    """At 84 % of 2,000 images: 1.96 sqrt(2 * .84 * .16 / 2000) = 2.27 points."""
    first = counted(make_record())
    second = replace(first, scores=(*first.scores[:-1], 0.84 + points / 100))
    told = compare(first, second)
    assert (told.equal, told.within) == (False, within)
    assert told.half_width == pytest.approx(0.0227, abs=1e-4)
    assert ("not within" in told.message) != within


def test_other_seeds_of_the_row_widen_the_interval():
    _, records = make_ablation()
    first = counted(next(record for record in records if record.label == "att"))
    second = replace(first, scores=(*first.scores[:-1], 0.5))
    assert compare(first, second, records).half_width > compare(first, second).half_width


def test_a_failure_is_repeated_by_the_same_failure():
    assert compare(make_failed(0, "the loss is nan"), make_failed(0, "the loss is nan")).within
    assert not compare(make_failed(0, "the loss is nan"), make_failed(0, "out of memory")).within
    assert not compare(make_failed(0), make_record()).within
    assert not compare(make_record(), make_failed(0)).within


def test_a_changed_environment_is_reported():
    first = make_record(environment={"torch": "2.14", "threads": 2, "load": 1.0})
    second = make_record(environment={"torch": "2.15", "threads": 2, "load": 3.0})
    assert changed_environment(first, second) == {"torch": ("2.14", "2.15")}


def test_a_trial_of_the_embedded_images_comes_out_the_same():
    setting = small_setting(images=64)
    setting = replace(setting, proxy=replace(setting.proxy, images=64))
    first = run_trial(make_record().arch, setting, number=3, label="paper", seeds={"init": 1, "order": 2})
    work = work_like(first)
    again = repeat(first, replace(work, setting=replace(work.setting, splits=setting.splits)))
    told = compare(first, again)
    assert told.equal, told.message


def work_like(record):
    """The work made from the record alone, its images counted as the small draw of the test has them."""
    whole = replace(record, data={**record.data, "counts": {"train": 64, "search": 2000}})
    return work_of(HEADER, whole)


def test_other_images_are_refused():
    record = make_record(
        data={"name": "x", "fingerprint": "0", "seed": 0, "counts": {"train": 64, "search": 2000}},
        proxy=small_setting(images=64).proxy.to_dict(),
        environment={"device": "cpu"},
    )
    with pytest.raises(DataError, match=r"fingerprint 0, these have .*--data"):
        work_of(HEADER, record)
