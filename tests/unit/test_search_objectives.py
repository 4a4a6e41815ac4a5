"""Objectives and limits: exact costs known before training, and nothing beyond a limit is ever a trial."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_pieces import IN_MEMORY, Curves, run, setting_of
from study_pieces import SPACE, Onlooker, new_study, tiny_space

from acmix_nas.cost import count
from acmix_nas.cost.latency import LatencyTable
from acmix_nas.errors import CostError, StudyError, UsageError
from acmix_nas.front import beats, front, point, values_of
from acmix_nas.metrics import COSTS, TOP1
from acmix_nas.record import Cost
from acmix_nas.search.objectives import (
    Prices,
    amount,
    broken,
    check_table,
    parse_objectives,
)

COST = Cost(params=3, macs=2, macs_deploy=1, input_size=224, latency_ms=8.0, throughput=500.0)
values = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), max_size=12)


def table_of(space, *, batch_size: int = 4) -> LatencyTable:
    """Every block of a stage costs a millisecond more than those of the stage before; the rest 10 ms."""
    mixers = {
        (stage, block, mixer): float(stage + 1)
        for stage, depth in enumerate(space.depths)
        for block in range(depth)
        for mixer in space.mixers(stage, block)
    }
    return LatencyTable(
        space=space.name,
        host=space.host,
        env={"device_name": "a phone"},
        how={},
        batch_size=batch_size,
        input_size=(224, 224),
        rest_ms=10.0,
        mixers_ms=mixers,
    )


def test_objectives_are_named_with_commas():
    assert parse_objectives("macs, top1") == ("macs", "top1")
    for wrong in ("macs", "top1,top1", "top1,flops", "", "top1,"):
        with pytest.raises(UsageError, match="top1"):
            parse_objectives(wrong)


def test_values_and_points_of_every_objective():
    names = (TOP1, *(COSTS[name] for name in ("throughput", "latency_ms", "params", "macs", "macs_deploy")))
    assert values_of(names, 0.5, COST) == [0.5, 500.0, 8.0, 3.0, 2.0, 1.0]
    assert point(names, 0.5, COST) == (0.5, 500.0, -8.0, -3.0, -2.0, -1.0)


@given(values)
def test_the_front_is_what_nothing_beats(found):
    from report_records import make_record

    records = [
        make_record(number, top1 / 4, cost=Cost(params=params, macs=macs, macs_deploy=1, input_size=224))
        for number, (top1, macs, params) in enumerate(found)
    ]
    names = (TOP1, COSTS["macs"], COSTS["params"])
    points = {record.number: point(names, record.score, record.cost) for record in records}
    kept = front(records, names)
    for record in records:
        beaten = any(beats(other, points[record.number]) for other in points.values())
        twin = any(points[other.number] == points[record.number] and other.number < record.number for other in records)
        assert (record in kept) == (not beaten and not twin)
    assert [record.score for record in kept] == sorted((record.score for record in kept), reverse=True)


def test_latency_and_throughput_come_from_the_table():
    arch = SPACE.build(SPACE.first["paper"])
    cost = Prices(224, table_of(SPACE))(arch)
    assert cost.latency_ms == 10 + 2 * 1 + 2 * 2 + 6 * 3 + 2 * 4
    assert cost.throughput == pytest.approx(4 / 0.042)
    assert replace(cost, latency_ms=None, throughput=None) == count(arch, 224) == Prices(224)(arch)


def test_a_table_is_needed_for_what_it_tells():
    check_table(("top1", "macs"), {"macs": 1}, None, SPACE)
    for objectives, limits in (
        (("top1", "latency_ms"), {}),
        (("top1", "throughput"), {}),
        (("top1",), {"latency_ms": 1}),
    ):
        with pytest.raises(UsageError, match="--latency-table"):
            check_table(objectives, limits, None, SPACE)
        check_table(objectives, limits, table_of(SPACE), SPACE)


def test_a_table_of_another_space_is_refused():
    with pytest.raises(CostError, match="block 0 of stage"):
        check_table(("top1",), {}, table_of(tiny_space()), SPACE)


def test_a_limit_is_broken_from_above():
    assert broken({"macs": 2, "latency_ms": 7.5}, COST) == {"latency_ms": 8.0}
    assert broken({}, COST) == {}


def test_nothing_beyond_a_limit_becomes_a_trial(tmp_path):
    most = count(SPACE.build(SPACE.first["plain host"]), 224).macs
    study, onlooker = new_study(tmp_path, storage=IN_MEMORY, limits={"macs": most}, starts=6), Onlooker()
    run(study, Curves(setting_of(1)), trials=8, callbacks=onlooker)
    records = study.records()
    assert len(records) == 8
    assert all(record.cost.macs <= most for record in records)
    assert onlooker.notes == [f"paper is left out: macs {amount(4644838656)} above {amount(most)}"]
    assert records[0].label == "plain host"


def test_a_space_without_anything_feasible_says_so(tmp_path):
    study = new_study(tmp_path, storage=IN_MEMORY, limits={"params": 1e6})
    with pytest.raises(StudyError, match=r"no network within the limits in 500 draws.*params 2.*M above 1M"):
        run(study, Curves(setting_of(1)), trials=2)
    assert study.trials() == []


def test_all_that_is_feasible_is_tried_and_no_more(tmp_path):
    space = tiny_space()
    costs = sorted({count(space.build(values), 224).macs for values in space.completions({})})
    study, onlooker = new_study(tmp_path, storage=IN_MEMORY, limits={"macs": costs[-1] - 1}), Onlooker()
    assert not run(study, Curves(setting_of(1)), trials=20, space=space, callbacks=onlooker)
    feasible = [values for values in space.completions({}) if count(space.build(values), 224).macs < costs[-1]]
    assert len(study.records()) == len(feasible) < space.size
    assert "within the limits were tried" in onlooker.notes[-1]


def test_a_search_for_latency_stores_it(tmp_path):
    space, setting = tiny_space(), setting_of(1)
    study = new_study(tmp_path, storage=IN_MEMORY, objectives=("top1", "latency_ms", "params"))
    run(study, Curves(setting), trials=3, space=space, prices=Prices(224, table_of(space)))
    for trial, record in zip(study.trials(), study.records(), strict=True):
        assert record.cost.latency_ms == 42.0
        assert trial.values == [record.score, 42.0, record.cost.params]


@pytest.mark.parametrize(("value", "text"), [(4.5e9, "4.5G"), (28649908, "28.65M"), (12, "12"), (1.25e12, "1.25T")])
def test_amounts_are_short(value, text):
    assert amount(value) == text
