"""How far chance moves an accuracy: beside the scores, in the facts, in the picture, and before a study begins."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_records import make_failed, make_record, make_search

from acmix_nas.metrics import TOP1
from acmix_nas.report import render, study_table
from acmix_nas.report.sampling import largest, sampling_error, sampling_fact, sampling_notes
from acmix_nas.report.table import as_text


def on(images: int, **changes):
    record = make_record(**changes)
    return replace(record, data={**record.data, "counts": {"train": 9, "search": images}})


def test_it_is_the_standard_error_of_a_proportion() -> None:
    assert sampling_error(TOP1, on(40, top1=0.5)) == pytest.approx(7.906, abs=1e-3)
    assert sampling_error(TOP1, on(40, top1=0.9)) == pytest.approx(100 * (0.9 * 0.1 / 40) ** 0.5)
    assert sampling_error(TOP1, on(2000, top1=0.85)) == pytest.approx(0.798, abs=1e-3)
    assert sampling_error(TOP1, on(40, top1=1.0)) == 0
    assert largest(40) == sampling_error(TOP1, on(40, top1=0.5))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"counts": {}},
        {"counts": {"search": 0}},
        {"counts": {"search": "40"}},
        {"counts": {"search": 10**400}},
        {"counts": 3},
    ],
)
def test_what_does_not_say_how_many_images_has_none(data: dict[str, object]) -> None:
    record = replace(make_record(), data=data)
    assert sampling_error(TOP1, record) is None
    assert sampling_fact(TOP1, [record, make_failed(1)]) == {}


def test_it_stands_beside_the_scores_everywhere(tmp_path: Path) -> None:
    header, records = make_search()
    few = [replace(record, data={**record.data, "counts": {"train": 50, "search": 40}}) for record in records]
    table = study_table(header, few)
    keys = [column.key for column in table.columns]
    assert keys[keys.index("top1") + 1] == "sampling_error"
    best = table.rows[0]
    error = 100 * (best[keys.index("top1")].value * (1 - best[keys.index("top1")].value) / 40) ** 0.5  # type: ignore[operator]
    assert best[keys.index("sampling_error")].value == pytest.approx(error, abs=1e-4)
    assert f" {error:.1f} " in as_text(table)
    assert "standard error of an accuracy on 40 images" in table.caption
    render(tmp_path, header, few)
    for name in ("report.html", "report.md", "table.tex"):
        assert "standard error of an accuracy on 40 images" in (tmp_path / name).read_text()
    page = (tmp_path / "report.html").read_text()
    assert page.count("standard error of an accuracy on 40 images") >= 3  # the facts, the front's caption, the foot
    assert '"error_points": ' in page
    many = [replace(record, data={**record.data, "counts": {"search": 41}}) for record in records]
    svg = (tmp_path / "pareto.svg").read_text()
    render(tmp_path, header, many)
    assert (tmp_path / "pareto.svg").read_text() != svg


def test_it_is_said_before_a_study_begins_when_it_is_over_three_points() -> None:
    (note,) = sampling_notes(40, "search")
    assert "40 search images" in note
    assert "7.9 points" in note
    assert sampling_notes(277, "search")
    assert sampling_notes(278, "search") == []
