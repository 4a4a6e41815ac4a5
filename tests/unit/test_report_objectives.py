"""A report shows and ranks by what its study optimised: latency, throughput, one cost or several."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from report_records import make_record, make_search

from acmix_nas.record import Cost, StudyHeader, TrialRecord
from acmix_nas.report import picture, render, study_table, together
from acmix_nas.report.figures import mixing

TABLE = {"sha256": "0", "device_name": "a phone"}
# top-1, macs, params, latency of a batch of 4: by MACs trials 0 and 1 are the front, by latency 2 and 3.
TRIALS = ((0.80, 1, 9, 9.0), (0.90, 2, 8, 8.0), (0.91, 3, 7, 4.0), (0.70, 4, 6, 2.0))


def study(*objectives: str) -> tuple[StudyHeader, list[TrialRecord]]:
    header = replace(make_search()[0], objectives=objectives, settings={"latency_table": TABLE})
    records = []
    for number, (top1, macs, params, latency_ms) in enumerate(TRIALS):
        timed = {"latency_ms": latency_ms, "throughput": 4000 / latency_ms}
        cost = Cost(params=params, macs=macs, macs_deploy=macs, input_size=224, **timed)  # type: ignore[arg-type]
        records.append(make_record(number, top1, cost=cost))
    return header, records


def page_of(folder: Path) -> dict[str, Any]:
    text = (folder / "report.html").read_text()
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', text, re.DOTALL)
    assert found
    values: dict[str, Any] = json.loads(found[1])
    return values


@pytest.mark.parametrize(
    ("objectives", "front", "axis"),
    [
        (("top1", "macs"), [2, 1, 0], "macs"),
        (("top1", "latency_ms"), [2, 3], "latency_ms"),
        (("top1", "throughput"), [2, 3], "throughput"),
        (("top1", "params", "macs"), [2, 1, 0, 3], "params"),
        (("top1",), [2], "macs"),
    ],
)
def test_every_rendering_ranks_by_the_objectives(
    objectives: tuple[str, ...], front: list[int], axis: str, tmp_path: Path
) -> None:
    header, records = study(*objectives)
    render(tmp_path, header, records)
    keys = [column.key for column in study_table(header, records).columns]
    rows = study_table(header, records).rows
    assert [row[keys.index("number")].value for row in rows] == front
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["trial"] == front[0]
    assert list(mixing.groups(header, records)) == [f"trial {front[0]}"]
    page = page_of(tmp_path)
    assert sorted(front) == [trial["number"] for trial in page["trials"] if trial["front"]]
    assert (page["cost"], page["best"]) == (axis, front[0])
    assert axis in {cost["name"] for cost in page["costs"]}


@pytest.mark.parametrize(("cost", "value"), [("latency_ms", 4.0), ("throughput", 1000.0)])
def test_what_a_table_tells_is_written_with_its_source(cost: str, value: float, tmp_path: Path) -> None:
    header, records = study("top1", cost)
    render(tmp_path, header, records)
    with (tmp_path / "trials.csv").open(newline="") as file:
        assert float(list(csv.DictReader(file))[2][cost]) == value
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["cost"][cost] == value
    assert "- Latency: sums of a table measured on a phone" in (tmp_path / "report.md").read_text()
    (shown,) = [item for item in page_of(tmp_path)["costs"] if item["name"] == cost]
    assert "by table, batch size 4" in shown["label"]
    assert shown["less"] == (cost == "latency_ms")


def test_a_latency_that_only_limits_is_a_column_and_no_objective() -> None:
    header, records = study("top1", "macs")
    keys = [column.key for column in study_table(header, records).columns]
    assert "latency_ms" in keys
    assert "throughput" not in keys
    counted = [replace(item, cost=replace(item.cost, latency_ms=None, throughput=None)) for item in records]
    assert "latency_ms" not in [column.key for column in study_table(header, counted).columns]


@pytest.mark.parametrize(("cost", "where"), [("latency_ms", "post"), ("throughput", "pre")])
def test_the_line_is_what_a_budget_buys(cost: str, where: str) -> None:
    from matplotlib.figure import Figure

    header, records = study("top1", cost)
    axes = Figure().add_subplot()
    picture._draw_front(axes, header, records)
    line = next(line for line in axes.lines if line.get_label() == "Pareto front (filled)")
    assert line.get_drawstyle() == f"steps-{where}"
    values = {"latency_ms": [(2.0, 70.0), (4.0, 91.0)], "throughput": [(1000.0, 91.0), (2000.0, 70.0)]}[cost]
    assert line.get_xydata() == pytest.approx(np.array(values))


def test_latencies_of_two_tables_do_not_stand_together() -> None:
    first, second = study("top1", "latency_ms"), study("top1", "latency_ms")
    second = (replace(second[0], name="second"), second[1])
    header, records, _ = together.merge([first, second])
    assert header.objectives == ("top1", "latency_ms")
    assert records[-1].cost.latency_ms == 2.0
    other = replace(second[0], settings={"latency_table": {**TABLE, "sha256": "1"}})
    header, records, _ = together.merge([first, (other, second[1])])
    assert header.objectives == ("top1", "macs")
    assert {record.cost.latency_ms for record in records} == {None}
