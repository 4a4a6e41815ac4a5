"""Several studies in one report, or the reason why not."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_records import make_ablation, make_search

from acmix_nas.errors import RecordError
from acmix_nas.record import Cost
from acmix_nas.report import render_together, study_table
from acmix_nas.report.together import folder_name, merge


def two_searches():
    header, records = make_search()
    other, others = make_search(seed=2)
    return [(header, records), (replace(other, name="swin_t-002"), others)]


def test_trials_are_numbered_through_and_know_where_they_come_from() -> None:
    studies = two_searches()
    header, records, origins = merge(studies)
    assert [record.number for record in records] == list(range(48))
    assert {record.label for record in records} == {"swin_t-001", "swin_t-002"}
    assert origins[30] == ("swin_t-002", 6)
    assert records[31].shared_with == 27  # trial 7 of the second shares with its trial 3
    assert header.name == "swin_t-001 + swin_t-002"


def test_rows_of_ablations_are_paired_by_seed() -> None:
    header, records = make_ablation()
    other = replace(header, name="combine-002")
    table = study_table(*merge([(header, records), (other, records)])[:2])
    rows = {str(row[0].value): row for row in table.rows}
    assert rows["combine-002: learned"][4].text.startswith("+0.00 ±")
    assert rows["combine-001: learned"][5].text == "baseline"


def test_the_report_repeats_trials_where_they_are(tmp_path: Path) -> None:
    folder, _, records = render_together(tmp_path, two_searches())
    assert folder == tmp_path / "swin_t-001+swin_t-002"
    page = (folder / "report.html").read_text()
    assert f"acmix repeat swin_t-002:6 --reports {tmp_path}" in page
    assert len(records) == 48


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h, r: (replace(h, kind="ablate"), r), "differ in kind: search and ablate"),
        (lambda h, r: (replace(h, split="report"), [replace(t, split="report") for t in r]), "differ in split"),
        (lambda h, r: (h, [replace(t, cost=Cost(params=1, macs=1, macs_deploy=1, input_size=160)) for t in r]),
         "input size of the costs: 224 and 160"),
        (lambda h, r: (h, [replace(t, budget={**t.budget, "epochs": 9}) for t in r]), "budget epochs: 6 and 9"),
        (lambda h, r: (h, [replace(t, proxy={**t.proxy, "width": 0.5}) for t in r]), "proxy width: 0.25 and 0.5"),
        (lambda h, r: (h, [replace(t, data={**t.data, "fingerprint": "0"}) for t in r]), "data fingerprint"),
        (lambda h, r: (replace(h, name="swin_t-001"), r), "two of the studies are named 'swin_t-001'"),
    ],
)  # fmt: skip
def test_what_cannot_stand_side_by_side_is_refused(change, said, tmp_path: Path) -> None:
    first, (header, records) = two_searches()
    with pytest.raises(RecordError, match=said):
        render_together(tmp_path, [first, change(header, records)])
    assert list(tmp_path.iterdir()) == []


def test_a_long_list_of_studies_still_names_a_folder() -> None:
    names = [f"a-study-with-a-long-name-{number:03d}" for number in range(20)]
    assert len(folder_name(names)) < 150
    assert folder_name(names) != folder_name(names[::-1])
