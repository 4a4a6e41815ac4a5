"""The Hamming GP sampler in Optuna studies: known costs and limits, pruned values, repeats, changing ranges."""

import random
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from acmix_nas import load_space
from acmix_nas.cost import count
from acmix_nas.errors import UsageError
from acmix_nas.samplers.distributions import Columns, columns_of_space, merged_order, search_space_of, values_of_row
from acmix_nas.samplers.make import draw, encode
from acmix_nas.samplers.observations import Cache, problem_of, pruned_values
from acmix_nas.search import HammingGPSampler, make_sampler

SPACE = load_space("swin_t")
GRID = {f"c{index}": CategoricalDistribution(["a", "b", "c"]) for index in range(5)}


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def count_of(option, params):
    return sum(value == option for value in params.values())


distributions = st.one_of(
    st.lists(st.sampled_from(["x", "y", None, True, 3, 0.5]), min_size=1, max_size=5, unique_by=str).map(
        CategoricalDistribution
    ),
    st.tuples(st.integers(-50, 50), st.integers(0, 90), st.integers(1, 7)).map(
        lambda t: IntDistribution(t[0], t[0] + t[1] // t[2] * t[2], step=t[2])
    ),
    st.tuples(st.integers(1, 50), st.integers(0, 500)).map(lambda t: IntDistribution(t[0], t[0] + t[1], log=True)),
    st.tuples(st.floats(-9, 9), st.floats(0.1, 9)).map(lambda t: FloatDistribution(t[0], t[0] + t[1])),
    st.tuples(st.floats(1e-5, 1), st.floats(1.5, 1e3)).map(lambda t: FloatDistribution(t[0], t[0] * t[1], log=True)),
    st.integers(1, 20).map(lambda n: FloatDistribution(0.0, n * 0.25, step=0.25)),
)


@given(st.lists(distributions, min_size=1, max_size=4), st.integers(0, 1000))
def test_rows_and_parameters_are_each_others_inverse(ranges, seed):
    columns = Columns({f"p{index}": one for index, one in enumerate(ranges)})
    rng = np.random.default_rng(seed)
    row = np.array([parameter.draw(rng, 1)[0] for parameter in columns.parameters])
    params = columns.params(row)
    assert all(columns.contains(name, value) for name, value in params.items())
    np.testing.assert_array_equal(columns.row(params), row)
    for parameter, level in zip(columns.parameters, row, strict=True):
        if parameter.ordered:
            assert 0.0 <= parameter.units(np.array([level]))[0] <= 1.0


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_rows_of_a_space_have_the_activity_that_the_space_says(seed):
    columns = columns_of_space(SPACE)
    search_space = search_space_of(SPACE, columns)
    (row,) = search_space.bare(search_space.draw(np.random.default_rng(seed), 1))
    values = values_of_row(SPACE, row)
    assert SPACE.values(SPACE.build(values)) == values
    np.testing.assert_array_equal(columns.row(encode(SPACE, values)[0]), row)


def test_names_come_after_those_before_them():
    order = merged_order([("a", "c", "d"), ("a", "b", "d"), ("e", "c")])
    for earlier, later in (("a", "c"), ("c", "d"), ("a", "b"), ("b", "d"), ("e", "c")):
        assert order.index(earlier) < order.index(later)


def test_it_finds_the_best_of_243_sooner_than_chance_does():
    def trials_until_best(name, seed):
        study = optuna.create_study(direction="maximize", sampler=make_sampler(name, seed))
        for number in range(243):
            trial = study.ask(GRID)
            study.tell(trial, value := count_of("b", trial.params))
            if value == 5:
                return number
        raise AssertionError("all were tried but the best")

    ours = [trials_until_best("hamming-gp", seed) for seed in range(2)]
    assert max(ours) < 45
    assert sum(ours) < sum(trials_until_best("random", seed) for seed in range(2))


@pytest.mark.parametrize("key", [1, "cost"])
def test_a_known_cost_is_computed_for_parameters(key):
    asked = []

    def cost(params):
        asked.append(params)
        return count_of("a", params)

    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=HammingGPSampler(0, costs={key: cost}, starts=4)
    )
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["score", "cost"])
    for _ in range(8):
        trial = study.ask(GRID)
        study.tell(trial, [count_of("b", trial.params), count_of("a", trial.params)])
    assert asked
    assert set(asked[0]) == set(GRID)


def test_a_cost_of_no_objective_is_refused():
    study = optuna.create_study(sampler=HammingGPSampler(0, costs={"macs": len}))
    study.tell(study.ask(GRID), 1.0)
    with pytest.raises(UsageError, match=r"'macs'.*set_metric_names"):
        study.ask(GRID)
    with pytest.raises(UsageError, match="hamming-gp, random, tpe, nsga2"):
        make_sampler("simulated annealing")


def test_known_limits_are_never_broken_after_the_starts():
    sampler = HammingGPSampler(0, constraints={"size": lambda params: count_of("b", params) - 3}, starts=5)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(30):
        trial = study.ask(GRID)
        study.tell(trial, count_of("b", trial.params))
    assert all(count_of("b", trial.params) <= 3 for trial in study.trials[5:])
    assert max(trial.value for trial in study.trials[5:]) == 3


def test_measured_limits_are_learnt():
    def feasible_part(constrained):
        study = optuna.create_study(direction="maximize", sampler=HammingGPSampler(0))
        for _ in range(40):
            trial = study.ask(GRID)
            if constrained:
                trial.set_constraint("size", count_of("b", trial.params) - 2)
            study.tell(trial, count_of("b", trial.params))
        return np.mean([count_of("b", trial.params) <= 2 for trial in study.trials[10:]])

    assert feasible_part(True) > feasible_part(False) + 0.3


def test_where_trials_fail_is_learnt():
    study = optuna.create_study(direction="maximize", sampler=HammingGPSampler(0))
    for _ in range(40):
        trial = study.ask(GRID)
        if trial.params["c0"] == "b":
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, count_of("b", trial.params))
    assert sum(trial.params["c0"] == "b" for trial in study.trials[20:]) < 10
    assert study.best_value == 4


def test_repeats_of_a_row_are_averaged_and_failed_rows_are_empty():
    trials = [
        create_trial(value=value, state=state, params={"a": a}, distributions={"a": IntDistribution(0, 4)})
        for a, value, state in [
            (1, 2.0, TrialState.COMPLETE),
            (3, 5.0, TrialState.COMPLETE),
            (1, 4.0, TrialState.COMPLETE),
            (2, None, TrialState.FAIL),
            (4, None, TrialState.RUNNING),
        ]
    ]
    columns = Columns({"a": IntDistribution(0, 4)})
    rows = np.array([columns.row(trial.params) for trial in trials])
    problem = problem_of(None, trials, rows, [-1], {}, {}, Cache())
    np.testing.assert_array_equal(problem.rows[:, 0], [1, 3, 2, 4])
    np.testing.assert_array_equal(problem.objectives[0].values, [-3, -5, np.nan, np.nan])
    np.testing.assert_array_equal(problem.counts, [2, 1, 1, 1])
    np.testing.assert_array_equal(problem.running, [False, False, False, True])
    np.testing.assert_array_equal(problem.constraints[0].values, [-1, -1, 1, np.nan])


def test_pruned_trial_is_estimated_by_its_rank_but_at_most_the_median():
    def trial(reported, value=None):
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        return create_trial(state=state, value=value, intermediate_values=dict(enumerate(reported)))

    trials = [trial([0.1, 0.2], 0.2), trial([0.3, 0.6], 0.6), trial([0.2, 0.9], 0.9), trial([0.15]), trial([0.8])]
    trials.append(trial([]))
    values = np.array([0.2, 0.6, 0.9, np.nan, np.nan, np.nan])
    found = pruned_values(trials, values, np.isnan(values), 1)
    np.testing.assert_allclose(found, [0.2 + (0.6 - 0.2) * 2 / 3, 0.6, np.nan])


def test_a_range_that_changes_is_followed():
    def objective(trial):
        most = trial.suggest_int("most", 1, 3)
        return trial.suggest_int("value", 0, most) + trial.suggest_float("float", 0, most)

    study = optuna.create_study(direction="maximize", sampler=HammingGPSampler(0))
    study.optimize(objective, n_trials=40)
    assert study.best_value > 5.5


def test_a_search_draws_with_exact_costs_and_its_memory_changes_nothing():
    chance = random.Random(0)
    history = []
    for _ in range(12):
        values = SPACE.sample(lambda choice: chance.choice(choice.options))
        params, ranges = encode(SPACE, values)
        macs = float(count(SPACE.build(values), 224).macs)
        history.append(create_trial(values=[chance.random(), macs], params=params, distributions=ranges))
    common = {
        "seed": 0,
        "starts": 2,
        "history": history,
        "seen": {SPACE.build(values).id for values in SPACE.first.values()},
        "directions": ["maximize", "minimize"],
        "costs": {1: lambda arch: float(count(arch, 224).macs)},
    }
    cache = Cache()
    first = draw(SPACE, **common, cache=cache)
    assert first[0] == "hamming-gp"
    assert first == draw(SPACE, **common, cache=cache) == draw(SPACE, **common)


def test_the_documented_study_runs():
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text(encoding="utf-8")
    names = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert len({tuple(trial.params.items()) for trial in names["study"].trials}) == 12
