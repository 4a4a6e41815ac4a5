"""Which trainings of finalists are fresh scores: others are kept apart with the reason, not averaged."""

import logging
from dataclasses import replace

import pytest
from report_records import make_failed, make_record, make_search

from acmix_nas.report import render
from acmix_nas.report.finals import stored_finals
from acmix_nas.study.finals import FINALS, Candidate, fix_list, sort_fresh

SAME = make_record(0)
SETTINGS = {"data": SAME.data["fingerprint"], "budget": SAME.budget, "proxy": SAME.proxy}
HEADER = replace(make_search()[0], settings={**make_search()[0].settings, **SETTINGS}, seed=7)


def final(seed=8, top1=0.8, **changes):
    return make_record(seed, top1, split="report", label="finalist 1", seeds={"init": seed, "order": seed}, **changes)


FOREIGN = {
    "fingerprint": (final(9, data={**SAME.data, "fingerprint": "0" * 16}), "its data fingerprint is 0000000000000000"),
    "no fingerprint": (final(9, data={}), "its data fingerprint is None"),
    "budget": (final(9, budget={**SAME.budget, "images": 10}), "its budget has images = 10, the study's 4000"),
    "recipe": (final(9, budget={**SAME.budget, "ema": 0.9}), "its budget has ema = 0.9, the study's None"),
    "proxy": (final(9, proxy={**SAME.proxy, "width": 1.0}), "its proxy has width = 1.0, the study's 0.25"),
    "split": (replace(final(9), split="search"), "it was scored on search images, not on report images"),
    "seed": (final(7), "its seed is that of the search"),
    "no seed": (replace(final(9), seeds={"order": 9}), "its seed is missing"),
    "metric": (replace(final(9), metric="mae"), "its scores are mae, the study's top1"),
    "twice": (final(8, 0.4), "the same network was trained with this seed before"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_was_made_otherwise_is_kept_apart_with_the_reason(kind):
    foreign, reason = FOREIGN[kind]
    found = sort_fresh([final(8), foreign], SETTINGS, seed=HEADER.seed, metric=HEADER.metric.name)
    assert found.kept == (final(8),)
    assert [record for record, _ in found.refused] == [foreign]
    assert reason in found.refused[0][1]
    assert found.notes[0].startswith("Left out: finalist 1, seed ")


def test_what_failed_before_may_be_trained_again():
    failed = make_failed(8, split="report", seeds={"init": 8, "order": 8})
    found = sort_fresh([failed, final(8)], SETTINGS, seed=HEADER.seed)
    assert (found.kept, found.refused) == ((failed, final(8)), ())


def test_depths_are_the_same_from_json_and_from_python():
    assert sort_fresh([final(8, proxy={**SAME.proxy, "depths": (2, 2, 6, 2)})], SETTINGS).refused == ()


def folder_with(tmp_path, *records):
    fix_list(tmp_path, lambda: [Candidate(names=("finalist 1",), arch=SAME.arch, trial=0, score=0.84)], top=1)
    (tmp_path / FINALS).write_text("".join(record.to_json() + "\n" for record in records))


def test_a_report_does_not_average_what_is_not_fresh(tmp_path, caplog):
    foreign = [record for record, _ in FOREIGN.values() if record.seeds.get("init") is not None]
    folder_with(tmp_path, final(8, 0.80), *foreign, final(10, 0.82))
    with caplog.at_level(logging.WARNING):
        found = stored_finals(tmp_path, HEADER)
    assert found.best.mean == pytest.approx(0.81)
    assert [record.seeds["init"] for record in found.best.records] == [8, 10]
    assert sum(note.startswith("Left out: ") for note in found.table.notes) == len(foreign)
    assert "its data fingerprint is 0000000000000000" in caplog.text
    render(tmp_path, HEADER, [SAME])
    assert "0.8100" in (tmp_path / "best.yaml").read_text()
    assert "data fingerprint is 0000000000000000" in (tmp_path / "table.tex").read_text()


def test_foreign_finals_make_no_table(tmp_path, caplog):
    folder_with(tmp_path, FOREIGN["budget"][0])
    with caplog.at_level(logging.WARNING):
        assert stored_finals(tmp_path, HEADER) is None
    assert "its budget has images = 10" in caplog.text
