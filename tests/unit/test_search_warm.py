"""Warm starts: what another study trained counts here, if it was trained the same way."""

from dataclasses import replace

import pytest
from search_pieces import IN_MEMORY, Curves, run, setting_of
from study_pieces import SPACE, Onlooker, new_study

from acmix_nas.samplers.make import decode
from acmix_nas.search.objectives import Prices
from acmix_nas.search.warm import bring_over
from acmix_nas.study.study import Study

PRICES = Prices(224)


@pytest.fixture(scope="module")
def setting():
    return setting_of(2)


@pytest.fixture
def other(tmp_path, setting):
    study = new_study(tmp_path, "other", storage=IN_MEMORY)
    run(study, Curves(setting), trials=6)
    return study


def edited(**options):
    """swin_t with other options for the first stage's rule."""
    choices = tuple(
        replace(choice, **options) if choice.name == "stages.0.combine" else choice for choice in SPACE.choices
    )
    return replace(SPACE, choices=choices)


def bring(tmp_path, setting, other, space=SPACE, **settings):
    study = new_study(tmp_path, "new", **{"storage": IN_MEMORY, **settings})
    return study, bring_over(study, space, setting, PRICES, header=other.header, records=other.records())


def test_a_larger_space_takes_everything(tmp_path, setting, other):
    larger = edited(options=("att", "conv", "half", "learned", "gated"))
    study, brought = bring(tmp_path, setting, other, larger)
    assert brought.count == 6
    assert str(brought) == "6 trials of other are copied"
    assert [r.origin for r in study.records()] == [f"other:{number}" for number in range(6)]
    assert [r.scores for r in study.records()] == [r.scores for r in other.records()]
    assert all(larger.build(larger.values(record.arch)) == record.arch for record in study.records())


def test_the_search_goes_on_from_them_and_trains_none_again(tmp_path, setting, other):
    study, _ = bring(tmp_path, setting, other, storage=None)
    executor, onlooker = Curves(setting), Onlooker()
    run(study, executor, trials=3, callbacks=onlooker)
    assert [number for number, _ in executor.done] == [6, 7, 8]
    assert len({record.arch_id for record in study.records()}) == 9
    assert {label for _, label in onlooker.begun}.isdisjoint({"plain host", "paper"})
    assert Study.open(study.folder).records()[0].origin == "other:0"


def test_a_smaller_space_takes_what_it_holds(tmp_path, setting, other):
    smaller = edited(options=("learned", "half"))
    held = [r for r in other.records() if r.arch.stages[0][0].combine in ("learned", "half")]
    _, brought = bring(tmp_path, setting, other, replace(smaller, first={}))
    assert brought.count == len(held) > 0
    assert brought.left == {"not in swin_t": 6 - len(held)}


def test_an_edited_choice_is_read_anew(tmp_path, setting, other):
    reordered = edited(options=("learned", "half", "conv", "att"))
    study, brought = bring(tmp_path, setting, other, reordered)
    assert brought.count == 6
    assert [reordered.build(decode(reordered, trial.params)) for trial in study.trials()] == [
        record.arch for record in other.records()
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"budget": {"epochs": 3}}, "budget.epochs is 2 there and 3 here"),
        ({"proxy": {"width": 0.5}}, "proxy.width is 0.25 there and 0.5 here"),
        ({"split": "report"}, "scored on search images"),
        ({"task": "my_lab.ages:TASK"}, "scored by top1 of classification"),
    ],
)
def test_what_was_trained_in_another_way_is_left(tmp_path, setting, other, change, reason):
    changed = {k: replace(getattr(setting, k), **v) if isinstance(v, dict) else v for k, v in change.items()}
    _, brought = bring(tmp_path, replace(setting, **changed), other)
    assert brought.count == 0
    assert brought.left == {reason: 6}
    assert reason in str(brought)


def test_other_images_are_left(tmp_path, setting, other):
    splits = replace(setting.splits, fingerprint="0" * 16)
    _, brought = bring(tmp_path, replace(setting, splits=splits), other)
    assert brought.count == 0
    assert next(iter(brought.left)).startswith("data.fingerprint is")


def test_twice_the_same_study_brings_nothing_new_and_limits_hold(tmp_path, setting, other):
    study, _ = bring(tmp_path, setting, other)
    again = bring_over(study, SPACE, setting, PRICES, header=other.header, records=other.records())
    assert (again.count, again.left) == (0, {"already there": 6})
    most = sorted(record.cost.macs for record in other.records())[2]
    limited = new_study(tmp_path, "limited", storage=IN_MEMORY, limits={"macs": most})
    brought = bring_over(limited, SPACE, setting, PRICES, header=other.header, records=other.records())
    assert (brought.count, brought.left) == (3, {"beyond the limits": 3})
