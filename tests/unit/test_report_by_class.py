"""Scores of each class in the page, in Markdown and as bars; published plain hosts of ADE20K beside them."""

from dataclasses import replace

import pytest
from by_night import nightly_but
from report_records import make_ablation, make_search

from acmix_nas.errors import RecordError, UsageError
from acmix_nas.metrics import SCORES, TOP1
from acmix_nas.report import View, render, study_table
from acmix_nas.report.by_class import class_scores, class_table
from acmix_nas.report.facts import check_comparable
from acmix_nas.report.published import segmented

HEAD = {"name": "semantic_fpn", "options": {}, "classes": ["sky", "sea & <b>", "land"]}
MIOU = SCORES["miou"]


def dense(made):
    """A study of segmentations: IoU of three classes, the last of which no mask has."""
    header, records = made
    objectives = ("miou", "macs") if header.kind == "search" else ()
    header = replace(header, metric=MIOU, objectives=objectives)
    return header, [
        replace(
            record,
            task="segmentation",
            metric="miou",
            metrics={},
            head=HEAD,
            by_class={"iou": (0.25 + record.number / 1000, 0.5, None)} if record.status == "complete" else {},
            data={**record.data, "name": "composed scenes (embedded)"},
        )
        for record in records
    ]


def test_rows_of_an_ablation_are_means_over_seeds():
    header, records = dense(make_ablation())
    found = class_scores(header, records)
    assert found.classes == tuple(HEAD["classes"])
    row = header.rows[0]
    mine = [record for record in records if record.label == row and record.status == "complete"]
    assert found.values[row][0] == pytest.approx(sum(r.by_class["iou"][0] for r in mine) / len(mine))
    assert found.values[row][1:] == (0.5, None)
    table = class_table(header, records)
    assert [cell.text for cell in table.rows[2]] == ["land", *["-"] * (len(table.columns) - 1)]


def test_a_search_shows_the_best_of_its_front():
    header, records = dense(make_search())
    table = class_table(header, records)
    assert table.columns[1].title.startswith("trial ")
    assert len(table.columns) <= 5


def test_a_study_without_classes_has_no_such_table(tmp_path):
    header, records = make_search()
    assert class_table(header, records) is None
    render(tmp_path, header, records, figures=("svg",))
    assert "classes-title" not in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "figures" / "iou-by-class.svg").exists()


@pytest.mark.parametrize("made", nightly_but(make_search, of=(make_search, make_ablation)))
def test_page_markdown_and_bars_have_them(tmp_path, made):
    header, records = dense(made())
    render(tmp_path, header, records, figures=("svg",))
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    for content in (page, text):
        assert "IoU of each class" in content
        assert "on composed scenes of the embedded garments, not photographs" in content
    assert "sea &amp; &lt;b&gt;" in page
    assert "segmentation, head semantic_fpn" in page
    picture = (tmp_path / "figures" / "iou-by-class.svg").read_text()
    assert picture.count("<path") > 20


def test_heads_and_classes_are_not_mixed_in_a_table():
    header, records = dense(make_search())
    for head in ({**HEAD, "name": "upernet"}, {**HEAD, "classes": ["sky", "sea"]}):
        with pytest.raises(RecordError, match="differ in head"):
            check_comparable(header, [*records, replace(records[0], number=99, head=head)])


def test_published_plain_hosts_stand_beside_ours_and_acmix_stays_blank():
    header, records = dense(make_ablation())
    by_arch = {model.arch_id: model for model in segmented()}
    assert len(by_arch) == 4
    table = study_table(header, records, View(compare="published"))
    place = [column.key for column in table.columns].index("published_miou")
    shown = {arch: row[place].text for arch, row in zip(table.arch_ids, table.rows, strict=True)}
    plain = next(arch for arch, model in by_arch.items() if model.name.startswith("Swin-T"))
    assert shown[plain] == "44.51"
    assert {text for arch, text in shown.items() if arch not in by_arch} == {"-"}
    assert any("Nothing is published of ACmix on ADE20K" in note for note in table.notes)


def test_nothing_is_published_of_another_metric():
    header, records = make_ablation()
    other = replace(TOP1, name="other", is_share=False)
    with pytest.raises(UsageError, match="top1 on ImageNet and miou on ADE20K"):
        View(compare="published").of(study_table(header, records), other)
