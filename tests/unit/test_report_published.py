"""Published numbers beside measured ones."""

import json

import pytest
from report_records import make_ablation

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import UsageError
from acmix_nas.models import model_names, named_arch
from acmix_nas.record import StudyHeader
from acmix_nas.report import View, study_table
from acmix_nas.report.published import published
from acmix_nas.report.view import FORMS

PLAIN = {
    "resnet": {"operator": "conv"},
    "san": {"combine": "att"},
    "pvt": {"combine": "att"},
    "swin": {"combine": "att"},
}


def with_fields(arch: Arch, **fields: str) -> Arch:
    def changed(mixer: Mixer) -> Mixer:
        return Mixer(operator="conv") if fields.get("operator") else mixer.having(**fields)

    return Arch.canonical(host=arch.host, stages=[[changed(mixer) for mixer in stage] for stage in arch.stages])


def test_arch_ids_are_those_of_the_named_networks() -> None:
    named = [named_arch(name) for name in model_names()]
    ids = {
        "acmix": {arch.id for arch in named},
        "plain": {with_fields(arch, **PLAIN[arch.host]).id for arch in named},
        "attention": {with_fields(arch, combine="att").id for arch in named if arch.host == "resnet"},
    }
    for form, known in ids.items():
        found = {model.arch_id for model in published() if model.form == form}
        assert found == known if form != "attention" else found < known
    assert len({model.arch_id for model in published()}) == len(published()) == 22


def test_each_acmix_gains_on_its_host_as_published() -> None:
    gains = {"ResNet-26": 2.5, "ResNet-38": 1.4, "ResNet-50": 0.9, "SAN-10": 0.5, "SAN-15": 0.4, "SAN-19": 0.5,
             "PVT-T": 2.9, "PVT-S": 1.9, "Swin-T": 0.6, "Swin-S": 0.5}  # fmt: skip
    top1 = {model.name.removesuffix(" patchwise"): model.top1_percent for model in published()}
    assert {name: round(top1[f"{name}-ACmix"] - top1[name], 1) for name in gains} == gains


def test_published_columns_stand_beside_the_measured_ones() -> None:
    header, records = make_ablation()
    table = study_table(header, records, View(compare="published"))
    rows = {str(row[0].value): [cell.text for cell in row[-3:]] for row in table.rows}
    assert rows["att"] == ["28.3", "4.5", "81.3"]
    assert rows["learned"] == ["30", "4.6", "81.9"]
    assert rows["conv"] == ["-", "-", "-"]
    assert [column.title.startswith("published") for column in table.columns[-3:]] == [True] * 3
    assert "Swin-T, Swin-T-ACmix as in Pan et al." in table.notes[-1]


def test_a_table_without_published_networks_says_so() -> None:
    header = StudyHeader(name="s", kind="search", space="swin_t", host="swin", split="search")
    assert "no row" in study_table(header, [], View(compare="published")).notes[-1]


def test_columns_are_chosen_by_key_and_in_order() -> None:
    header, records = make_ablation()
    table = study_table(header, records, View(columns=("n", "row", "arch_id")))
    assert [column.key for column in table.columns] == ["n", "row", "arch_id"]
    assert table.rows[0][2].text == records[0].arch_id
    with pytest.raises(UsageError, match="no column 'top2'; there are row, mean"):
        study_table(header, records, View(columns=("top2",)))


def test_one_table_in_every_form() -> None:
    header, records = make_ablation()
    table = study_table(header, records)
    for form, render in FORMS.items():
        text = render(table)
        assert all(name in text for name in header.rows), form
    told = json.loads(FORMS["json"](table))
    assert [row["row"] for row in told["rows"]] == list(header.rows)
    assert told["rows"][0]["n"] == 5
    assert told["rows"][6]["difference"] == "baseline"
    assert told["rows"][0]["mean"] == table.rows[0][1].value
    assert "<table>" in FORMS["html"](table)
