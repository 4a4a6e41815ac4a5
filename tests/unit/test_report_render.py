import csv
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_records import make_ablation, make_failed, make_record, make_search

from acmix_nas.errors import RecordError
from acmix_nas.front import front
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import best_trial, escape, render, rendered
from acmix_nas.space.arch_file import load_arch

FILES = {"report.html", "report.md", "table.tex", "trials.csv", "trials.jsonl", "best.yaml", "pareto.svg"}
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "--><svg onload=alert(1)>",
    "]]>\x00\x1b[31m\u2028${7*7}{{7*7}}",
    "\\input{/etc/passwd} & $x_1$ % # ~ ^",
    "=1+1\r\n,\"'",
    "a\ud800b",
)
STUDIES = {"search": make_search, "ablate": make_ablation}


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.addresses: list[str] = []
        self.data: list[str] = []
        self.json = ""
        self._in_json = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self._in_json = ("type", "application/json") in attrs

    def handle_endtag(self, tag: str) -> None:
        self._in_json = False

    def handle_data(self, data: str) -> None:
        self.data.append(data)
        self.json += data if self._in_json else ""


def poisoned(kind: str, text: str) -> tuple[StudyHeader, list[TrialRecord]]:
    header, records = STUDIES[kind]()
    header = replace(header, name=text, command=text, space=text, version=text, rows=())
    records = records[:6]
    data = {**records[0].data, "name": text}
    records = [
        replace(record, label=f"{text}{record.label}", data=data, environment={"device_name": text})
        for record in records
    ]
    failed = make_failed(90, error=text, label=text, split=header.split, data=data)
    return header, [*records, failed]


@pytest.mark.parametrize("kind", STUDIES)
def test_all_files_are_written(kind: str, tmp_path: Path) -> None:
    header, records = STUDIES[kind]()
    files = render(tmp_path / "study", header, records)
    assert {file.name for file in files} == FILES
    assert {file.name for file in (tmp_path / "study").iterdir()} == {*FILES, rendered.NAME}


@pytest.mark.parametrize("kind", STUDIES)
def test_the_same_records_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    header, records = STUDIES[kind]()
    first = [file.read_bytes() for file in render(tmp_path / "a", header, records)]
    second = [file.read_bytes() for file in render(tmp_path / "a", header, records[::-1])]
    assert first == second


@pytest.mark.parametrize("kind", STUDIES)
@pytest.mark.parametrize("records", [[], [make_failed(0), make_failed(1)]], ids=["none", "failed"])
def test_a_study_without_a_complete_trial_says_so(kind: str, records: list[TrialRecord], tmp_path: Path) -> None:
    header, _ = STUDIES[kind]()
    (tmp_path / "best.yaml").write_text("old")
    files = render(tmp_path, header, records)
    assert {file.name for file in files} == FILES - {"best.yaml"}
    assert not (tmp_path / "best.yaml").exists()
    for name in ("report.html", "report.md", "table.tex"):
        assert "No trial is complete" in (tmp_path / name).read_text()


def test_what_cannot_be_compared_writes_nothing(tmp_path: Path) -> None:
    header, records = make_search()
    with pytest.raises(RecordError, match="one split"):
        render(tmp_path / "study", header, [*records, make_record(99, split="report")])
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("kind", STUDIES)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(kind: str, text: str, tmp_path: Path) -> None:
    header, records = poisoned(kind, text)
    render(tmp_path, header, records)
    page = Page((tmp_path / "report.html").read_text())
    assert page.tags.count("script") == 2
    assert page.tags.count("img") == 1
    assert "svg" not in page.tags
    assert page.handlers == []
    assert all(address.startswith("data:") for address in page.addresses)
    assert json.loads(page.json)["trials"][-1]["error"] == text


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1) | st.text(alphabet="<>/&\"'scriptimg-!=\\{}%$ \n", min_size=1))
def test_any_text_stays_text(text: str, tmp_path: Path) -> None:
    header, records = poisoned("search", text)
    render(tmp_path, header, records)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert (page.tags.count("script"), page.tags.count("img"), page.handlers) == (2, 1, [])
    with (tmp_path / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"] for row in rows][-1] == escape.csv(text)
    assert [row["number"] for row in rows] == [str(record.number) for record in records]


@pytest.mark.parametrize("kind", STUDIES)
def test_jsonl_is_the_records(kind: str, tmp_path: Path) -> None:
    header, records = STUDIES[kind]()
    render(tmp_path, header, records)
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(record.to_json()) for record in records]
    assert [TrialRecord.from_json(line).to_json() for line in lines] == [record.to_json() for record in records]


def test_csv_has_the_costs_and_the_stages(tmp_path: Path) -> None:
    header, records = make_search()
    render(tmp_path, header, records)
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, record in zip(rows, records, strict=True):
        assert row["arch_id"] == record.arch_id
        assert int(row["macs"]) == record.cost.macs
        assert row["top1"] == ("" if record.score is None else str(record.score))
        assert all(row[f"stage{i}"] for i in (1, 2, 3, 4))


@pytest.mark.parametrize("kind", STUDIES)
def test_best_is_read_back(kind: str, tmp_path: Path) -> None:
    header, records = STUDIES[kind]()
    render(tmp_path, header, records)
    chosen = best_trial(header, records)
    assert chosen is not None
    assert load_arch(tmp_path / "best.yaml") == chosen.arch
    if kind == "search":
        assert chosen == front(records, header.measures)[0]
        assert "biased upward: chosen as best of 23" in (tmp_path / "best.yaml").read_text()
    else:
        assert chosen.label == "learned"


@pytest.mark.parametrize("text", HOSTILE)
def test_best_is_read_back_whatever_the_names(text: str, tmp_path: Path) -> None:
    header, records = poisoned("search", text)
    render(tmp_path, header, records)
    assert load_arch(tmp_path / "best.yaml") == front(records, header.measures)[0].arch


def test_the_embedded_data_is_named(tmp_path: Path) -> None:
    header, records = make_search()
    render(tmp_path, header, records)
    for name in ("report.html", "report.md", "table.tex"):
        assert "not ImageNet" in (tmp_path / name).read_text()
