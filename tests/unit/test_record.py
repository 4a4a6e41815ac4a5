"""Records and headers: what is stored comes back, and what is not a record is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import make_record
from test_arch import archs

from acmix_nas.errors import RecordError
from acmix_nas.record import Cost, StudyHeader, TrialRecord

unit = st.floats(0, 1)
pairs = st.none() | st.tuples(st.floats(-3, 3), st.floats(-3, 3))
facts = st.dictionaries(st.text(max_size=8), st.integers(0, 9) | st.text(max_size=8) | st.none(), max_size=3)


@st.composite
def records(draw):
    scores = draw(st.lists(unit, min_size=1, max_size=3))
    blocks = st.lists(st.tuples(pairs, pairs), min_size=len(scores), max_size=len(scores)).map(tuple)
    return TrialRecord(
        number=draw(st.integers(0, 999)),
        status="complete",
        arch=draw(archs),
        cost=Cost(params=1, macs=2, macs_deploy=2, input_size=224),
        label=draw(st.text(max_size=20)),
        split=draw(st.sampled_from(["search", "report"])),
        scores=tuple(scores),
        losses=tuple(scores),
        mixing=draw(blocks),
        norms=draw(st.just(()) | blocks),
        skipped=draw(st.integers(0, 9)),
        seeds={"init": 0, "order": 1},
        budget=draw(facts),
        proxy=draw(facts),
        data=draw(facts),
        environment=draw(facts),
        started="2026-01-01T00:00:00+00:00",
        seconds=1.5,
    )


@given(records())
def test_a_record_survives_a_line_of_json(record):
    line = record.to_json()
    assert "\n" not in line
    assert TrialRecord.from_json(line) == record
    assert json.loads(line)["arch_id"] == record.arch.id


@given(records(), st.data())
def test_a_record_with_a_field_too_few_or_too_many_is_refused(record, data):
    values = record.to_dict()
    required = set(values) - {"arch_id", "task", "metric", "metrics", "shared_with", "error", "norms", "skipped"}
    name = data.draw(st.sampled_from(sorted(required)))
    with pytest.raises(RecordError, match=name):
        TrialRecord.from_dict({key: value for key, value in values.items() if key != name})
    with pytest.raises(RecordError, match="colour"):
        TrialRecord.from_dict({**values, "colour": "red"})


@given(records())
def test_a_record_without_skipped_steps_equals_an_earlier_version(record):
    values = replace(record, skipped=0).to_dict()
    assert "skipped" not in values
    assert TrialRecord.from_dict(values).skipped == 0


@pytest.mark.parametrize("skipped", [-1, 1.5, "2", None, 2**70])
@given(record=records())
def test_skipped_steps_are_counted_in_whole_numbers(record, skipped):
    with pytest.raises(RecordError, match="skipped"):
        TrialRecord.from_dict({**record.to_dict(), "skipped": skipped})


@given(records())
def test_an_arch_that_was_tampered_with_is_noticed(record):
    with pytest.raises(RecordError, match="arch_id"):
        TrialRecord.from_dict({**record.to_dict(), "arch_id": "0" * 16})


@pytest.mark.parametrize("line", ["", "{", "[]", "3", '{"arch_id": "x"}'])
def test_a_malformed_record_line_is_refused(line):
    with pytest.raises(RecordError):
        TrialRecord.from_json(line)


@given(records())
def test_a_complete_trial_has_a_score_and_a_failed_one_no_top1(record):
    assert record.score == record.scores[-1]
    assert replace(record, status="failed", error="why").score is None
    with pytest.raises(RecordError, match="no score"):
        replace(record, scores=())
    with pytest.raises(RecordError, match="status"):
        replace(record, status="perhaps")


def test_a_header_survives_json():
    header = StudyHeader(name="a", kind="ablate", space="shift", host="swin", split="report", rows=("x", "y"))
    assert StudyHeader.from_dict(json.loads(json.dumps(header.to_dict()))) == header
    with pytest.raises(RecordError, match="kind"):
        StudyHeader(name="a", kind="guess", space="shift", host="swin", split="report")
    with pytest.raises(RecordError, match="split"):
        StudyHeader(name="a", kind="search", space="shift", host="swin", split="test")


@pytest.mark.parametrize("score", [5e9, -1.0, -1e-9, 1.0000001, float("nan"), float("inf")])
def test_a_score_is_a_share(score):
    record = make_record(3, epochs=2)
    with pytest.raises(RecordError, match=r"trial 3 has the score .*; top-1 is from 0 to 1"):
        replace(record, scores=(0.5, score))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": (0.5, 0.8, 0.8)}, "is complete and has 3 scores for the 2 epochs"),
        ({"scores": (0.8,)}, "is complete and has 1 scores for the 2 epochs"),
        ({"scores": (0.5, 0.8, 0.8), "status": "failed"}, "is failed and has 3 scores for the 2 epochs"),
        ({"losses": (1.0,)}, "has 2 scores but 1 losses"),
        ({"mixing": ((),)}, "has 2 scores but 1 mixing"),
        ({"norms": ((), (), ())}, "has 2 scores but 3 norms"),
    ],
)
def test_there_is_one_score_for_each_epoch(changes, said):
    record = replace(make_record(3, epochs=2), **changes)
    with pytest.raises(RecordError, match=said):
        TrialRecord.from_json(record.to_json())


def test_a_trial_that_waits_or_failed_may_have_fewer():
    whole = make_record(3, epochs=4)
    part = {name: getattr(whole, name)[:2] for name in ("scores", "losses", "mixing", "norms")}
    for status in ("paused", "pruned", "failed"):
        record = replace(whole, status=status, **part)
        assert TrialRecord.from_json(record.to_json()) == record
