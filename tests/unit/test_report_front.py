from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import make_ablation, make_failed, make_record, make_search

from acmix_nas.errors import RecordError
from acmix_nas.front import front
from acmix_nas.metrics import COSTS, TOP1
from acmix_nas.record import Cost, TrialRecord
from acmix_nas.report.describe import arch_text, varying
from acmix_nas.report.facts import facts, is_embedded
from acmix_nas.report.trials import front_table

BY_MACS = (TOP1, COSTS["macs"])
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6), st.booleans()), max_size=14)


def at(number: int, top1: float, macs: int) -> TrialRecord:
    return make_record(number, top1, cost=Cost(params=1, macs=macs, macs_deploy=10 - macs, input_size=224))


def beats(one: TrialRecord, other: TrialRecord) -> bool:
    assert one.score is not None
    assert other.score is not None
    same = (one.score, one.cost.macs) == (other.score, other.cost.macs)
    if same:
        return one.number < other.number
    return one.score >= other.score and one.cost.macs <= other.cost.macs


@given(POINTS)
def test_front_is_what_nothing_beats(points: list[tuple[int, int, bool]]) -> None:
    records = [at(i, top1 / 8, macs) if done else make_failed(i) for i, (top1, macs, done) in enumerate(points)]
    scored = [record for record in records if record.status == "complete"]
    expected = [one for one in scored if not any(beats(other, one) for other in scored)]
    found = front(reversed(records), BY_MACS)
    assert sorted(record.number for record in found) == [record.number for record in expected]
    assert [record.score for record in found] == sorted((record.score for record in expected), reverse=True)


def test_a_shared_score_counts_once_at_the_same_cost() -> None:
    first, second = at(0, 0.5, 3), replace(at(1, 0.5, 3), shared_with=0)
    cheaper = replace(at(2, 0.5, 2), shared_with=0)
    assert [record.number for record in front([first, second], BY_MACS)] == [0]
    assert [record.number for record in front([first, second, cheaper], BY_MACS)] == [2]


def test_front_by_another_cost() -> None:
    records = [at(0, 0.5, 3), at(1, 0.5, 4)]
    assert [record.number for record in front(records, BY_MACS)] == [0]
    assert [record.number for record in front(records, (TOP1, COSTS["macs_deploy"]))] == [1]


def test_the_table_names_the_bias_and_shows_references() -> None:
    header, records = make_search()
    table = front_table(header, records)
    assert any(
        column.title.startswith("search top-1 (biased upward: chosen as best of 23)") for column in table.columns
    )
    labels = [row[1].text for row in table.rows]
    assert {"plain host", "paper"} <= set(labels)
    assert "23 of 24 trials complete" in table.notes[0]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"split": "report"}, "report images"),
        ({"data": {"name": "x", "fingerprint": "0"}}, "fingerprint"),
        ({"budget": {"epochs": 99, "images": 4000, "batch_size": 64, "learning_rate": 1e-3}}, "budget epochs"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes: dict[str, object], word: str) -> None:
    header, records = make_search()
    mixed = [*records[:-1], replace(records[-1], **changes)]  # type: ignore[arg-type]
    with pytest.raises(RecordError, match=word):
        front_table(header, mixed)


def test_failed_trials_may_differ() -> None:
    header, records = make_search()
    table = front_table(header, [*records, make_failed(99, data={}, budget={})])
    assert table.rows == front_table(header, records).rows
    assert table.caption == front_table(header, records).caption
    assert "23 of 25 trials complete" in table.notes[0]


def test_networks_are_described_by_what_differs() -> None:
    _, records = make_search()
    shown = varying(record.arch for record in records)
    assert shown == {"combine", "conv_kernel"}
    assert arch_text(records[0].arch, shown) == "att | att | att | att"
    assert arch_text(records[1].arch, shown) == "learned k3 | learned k3 | learned k3 | learned k3"
    assert "window a7 k3 h12 full shift" in arch_text(records[1].arch)


def test_facts_say_where_numbers_come_from() -> None:
    header, records = make_ablation()
    told = facts(header, records)
    assert told["Data"] == "fashion_mnist (embedded) (fingerprint 9f86d081, 10 classes)"
    assert told["Budget"] == "epochs 6, images 4,000, batch size 64"
    assert told["Machine"] == "NVIDIA H200, torch 2.15.0"
    assert told["Seeds"].startswith("init 0, 1, 2, 3, 4")
    assert is_embedded(records)
