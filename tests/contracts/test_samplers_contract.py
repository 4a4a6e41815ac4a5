"""What every sampler holds to, by its name: any parameters, any study, nothing twice, the same again after a pause."""

import pickle
import random

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from acmix_nas import load_space
from acmix_nas.samplers.make import SAMPLERS, draw, encode, make_sampler

SPACE = load_space("swin_t")
ONE, TWO = ["maximize"], ["maximize", "minimize"]


@pytest.fixture(params=SAMPLERS)
def name(request):
    return request.param


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def study_of(name, directions=ONE, *, seed=0, space=None, **options):
    return optuna.create_study(directions=directions, sampler=make_sampler(name, seed, space=space), **options)


def every_kind(trial):
    """A parameter of every kind, some of them conditional; the best value is 14."""
    kind = trial.suggest_categorical("kind", ["conv", "att", None, True])
    value = trial.suggest_int("even", 0, 10, step=2) - abs(trial.suggest_float("float", -1.0, 1.0))
    if kind == "conv":
        return value + trial.suggest_int("log", 1, 64, log=True) / 16
    if kind == "att":
        value -= trial.suggest_float("rate", 1e-4, 1.0, log=True)
        return value + trial.suggest_float("tenth", 0.0, 1.0, step=0.1)
    return value + trial.suggest_int("fixed", 3, 3)


def distinct(trials):
    return {tuple(sorted(trial.params.items())) for trial in trials}


def choose(trial):
    def one(choice):
        if choice.ordered:
            return choice.options[trial.suggest_int(choice.name, 0, len(choice.options) - 1)]
        return trial.suggest_categorical(choice.name, choice.options)

    return one


def test_parameters_of_every_kind(name):
    study = study_of(name)
    study.optimize(every_kind, n_trials=20)
    assert len(distinct(study.trials)) == 20
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)


def test_several_objectives_and_minimising(name):
    study = study_of(name, ["minimize", "maximize", "minimize"])
    study.optimize(lambda trial: (-every_kind(trial), trial.params["even"], trial.params["float"]), n_trials=13)
    assert len(distinct(study.trials)) == 13


def test_a_small_study_is_tried_out_before_anything_is_repeated(name):
    def objective(trial):
        depth = trial.suggest_int("depth", 1, 3)
        return sum(trial.suggest_categorical(f"op{layer}", ["a", "b"]) == "a" for layer in range(depth))

    study = study_of(name)
    study.optimize(objective, n_trials=2 + 4 + 8)
    assert len(study.trials) == len(distinct(study.trials)) == 2 + 4 + 8
    with pytest.warns(UserWarning, match="tried"):
        study.optimize(objective, n_trials=6)
    assert len(study.trials) == 20
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)


def test_a_small_space_is_tried_out_before_anything_is_repeated(name):
    space = small_space()
    study = study_of(name, space=space)
    study.optimize(lambda trial: len(space.sample(choose(trial))), n_trials=space.size)
    assert len(study.trials) == len(distinct(study.trials)) == space.size
    with pytest.warns(UserWarning, match="tried"):
        study.optimize(lambda trial: len(space.sample(choose(trial))), n_trials=3)
    assert len(study.trials) == space.size + 3


def test_a_study_of_three_values_gets_the_trials_it_asks_for(name):
    study = study_of(name, TWO)
    with pytest.warns(UserWarning, match="tried"):
        study.optimize(lambda trial: (trial.suggest_categorical("x", [0, 1, 2]), 1.0), n_trials=10)
    assert len(study.trials) == 10
    assert len(distinct(study.trials[:3])) == 3


def test_a_search_ends_when_its_space_was_tried_out(name):
    space, seen, history = small_space(), set(), []
    common = {"seed": 0, "starts": 2, "directions": ONE, "sampler": name}
    while (found := draw(space, history=history, seen=seen, **common)) is not None:
        params, distributions = encode(space, found[1])
        history.append(optuna.trial.create_trial(params=params, distributions=distributions, value=len(params)))
        history[-1].number = len(history) - 1
        seen.add(space.build(found[1]).id)
    assert len(history) == space.size


def test_enqueued_trials_are_taken_and_not_repeated(name):
    study = study_of(name)
    distributions = {"a": CategoricalDistribution([0, 1]), "b": IntDistribution(0, 2)}
    study.enqueue_trial({"a": 1, "b": 2})
    study.enqueue_trial({"a": 0})
    study.enqueue_trial({"a": 0})
    study.enqueue_trial({"a": 0})
    for _ in range(6):
        trial = study.ask(distributions)
        study.tell(trial, trial.params["b"])
    assert study.trials[0].params == {"a": 1, "b": 2}
    assert [trial.params["a"] for trial in study.trials[:4]] == [1, 0, 0, 0]
    assert len(distinct(study.trials)) == 6


def test_failed_pruned_and_running_trials_are_not_repeated(name):
    def objective(trial):
        value = every_kind(trial)
        trial.report(value, 0)
        if trial.number % 3 == 1:
            raise ValueError("out of memory")
        if trial.number % 3 == 2:
            raise optuna.TrialPruned
        return value

    study = study_of(name)
    running = []
    for _ in range(4):
        study.optimize(objective, n_trials=6, catch=ValueError)
        running.append(study.ask())
        every_kind(running[-1])
    assert len(distinct(study.trials)) == 28
    assert {trial.state for trial in study.trials} == {
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.PRUNED,
        TrialState.RUNNING,
    }


def test_trials_in_parallel(name):
    study = study_of(name, space=SPACE)
    study.optimize(lambda trial: len(set(SPACE.sample(choose(trial)).values())), n_trials=16, n_jobs=2)
    assert len(distinct(study.trials)) == 16


def test_fixed_distributions(name):
    study = study_of(name, TWO)
    distributions = {
        "a": CategoricalDistribution(["x", "y", "z"]),
        "b": IntDistribution(1, 100, log=True),
        "c": FloatDistribution(0.0, 1.0),
    }
    for _ in range(16):
        trial = study.ask(distributions)
        study.tell(trial, [trial.params["b"], trial.params["c"]])
    assert len(distinct(study.trials)) == 16


def test_constraints(name):
    def objective(trial):
        value = every_kind(trial)
        trial.set_constraint("even", trial.params["even"] - 6)
        return value

    study = study_of(name)
    study.optimize(objective, n_trials=16)
    assert len(distinct(study.trials)) == 16


def test_a_resumed_study_goes_on_as_if_it_had_never_stopped(name):
    whole, parts = study_of(name, TWO, seed=3), study_of(name, TWO, seed=3)

    def objective(trial):
        return every_kind(trial), trial.params["even"]

    whole.optimize(objective, n_trials=16)
    for _ in range(4):
        parts.optimize(objective, n_trials=4)
        parts.sampler = make_sampler(name, 3)
    assert [trial.params for trial in parts.trials] == [trial.params for trial in whole.trials]


def test_another_seed_gives_other_trials(name):
    one, other = study_of(name, seed=1), study_of(name, seed=2)
    for study in (one, other):
        study.optimize(every_kind, n_trials=3)
    assert distinct(one.trials) != distinct(other.trials)


def test_a_sampler_can_be_pickled(name):
    sampler = pickle.loads(pickle.dumps(make_sampler(name, 1, space=SPACE)))
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: len(SPACE.sample(choose(trial))), n_trials=2)


@pytest.mark.parametrize("directions", [ONE, TWO])
def test_draw_is_a_function_of_seed_and_history(name, directions):
    chance = random.Random(0)
    history = []
    for number in range(14):
        values = SPACE.sample(lambda choice: chance.choice(choice.options))
        params, distributions = encode(SPACE, values)
        state = TrialState.FAIL if number == 4 else TrialState.PRUNED if number == 5 else TrialState.COMPLETE
        result = [chance.random() for _ in directions] if state == TrialState.COMPLETE else None
        record = {"record": {"scores": [0.2, 0.3]}}
        history.append(
            optuna.trial.create_trial(
                state=state, values=result, params=params, distributions=distributions, user_attrs=record
            )
        )
    seen = {SPACE.build(values).id for values in SPACE.first.values()}
    common = {"starts": 2, "history": history, "seen": seen, "directions": directions, "sampler": name}
    label, values = draw(SPACE, seed=0, **common)
    assert label == name
    assert (label, values) == draw(SPACE, seed=0, **common)


def small_space():
    """Four stages of which one varies, with a choice that is there only for some values of another."""
    from dataclasses import replace

    from acmix_nas.space import Choice

    rule = "stages.3.combine"
    choices = (
        Choice(rule, ("att", "conv", "half")),
        Choice("stages.3.head_dim", (16, 32), ordered=True),
        Choice("stages.3.conv_kernel", (1, 3, 5), ordered=True, when={rule: ("conv", "half")}),
    )
    usual = {"combine": "att", "head_dim": 32, "conv_kernel": 3, "conv_impl": "groupconv"}
    return replace(SPACE, choices=choices, fixed=tuple({**one, **usual} for one in SPACE.fixed), first={})
