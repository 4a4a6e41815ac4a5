"""The Gaussian process and its acquisition against slow oracles in float64."""

from itertools import product
from math import erf, exp, pi, sqrt

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from acmix_nas.front import hypervolume
from acmix_nas.samplers.gp import Parameter, Problem, Quantity, SearchSpace, draw_unseen, find_unseen, propose
from acmix_nas.samplers.gp.acquisition import (
    hypervolume_improvement,
    log_expected_improvement,
    normal_draws,
    pareto,
)
from acmix_nas.samplers.gp.conditions import Conditions
from acmix_nas.samplers.gp.gaussian_process import Hyper, Posterior, fit, kernel, negative_log_posterior
from acmix_nas.samplers.gp.kernel import Features
from acmix_nas.samplers.gp.search_space import repeats
from acmix_nas.samplers.gp.surrogate import limit_targets, log_probability_below, normal_scores, raw_values, selected

MIXED = (
    Parameter(name="op", size=5, group="op"),
    Parameter(name="flag", size=2, group="flag"),
    Parameter(name="width", size=7, ordered=True, group="width"),
    Parameter(name="rate", size=None, ordered=True, group="rate"),
    Parameter(name="log", size=64, ordered=True, low=1, log=True, group="log"),
)
OPS = tuple(Parameter(name=f"op{index}", size=3, group="op") for index in range(4))


def mixed(seed, count):
    return SearchSpace(MIXED).draw(np.random.default_rng(seed), count)


def encoded(seed, count):
    rows = mixed(seed, count)
    features = Features.of(MIXED, np.zeros(len(MIXED), dtype=bool))
    return features, features.encode(rows)


def naive_kernel(hyper, one, other):
    return hyper.signal * exp(-sum(w * (a - b) ** 2 for w, a, b in zip(hyper.weights, one, other, strict=True)))


def test_the_posterior_is_that_of_the_dense_formula():
    features, points = encoded(0, 19)
    rng = np.random.default_rng(1)
    hyper = Hyper(np.exp(rng.normal(size=points.shape[1])), 1.3, 0.07)
    known, new = points[:13], points[13:]
    targets, counts = rng.normal(size=13), rng.integers(1, 4, 13).astype(float)
    mean, deviation = Posterior(hyper, known, targets, counts).at(new)
    k = np.array([[naive_kernel(hyper, a, b) for b in known] for a in known]) + np.diag(hyper.noise / counts)
    cross = np.array([[naive_kernel(hyper, a, b) for b in known] for a in new])
    np.testing.assert_allclose(mean, cross @ np.linalg.inv(k) @ targets, rtol=1e-8)
    variance = hyper.signal - np.diag(cross @ np.linalg.inv(k) @ cross.T)
    np.testing.assert_allclose(deviation**2, variance, rtol=1e-7)
    assert features.base.shape == (points.shape[1],)


def test_the_gradient_of_the_fit_is_that_of_finite_differences():
    features, points = encoded(2, 11)
    rng = np.random.default_rng(3)
    targets, counts = rng.normal(size=11), rng.integers(1, 4, 11).astype(float)
    x = 0.3 * rng.normal(size=len(features.spread) + 2)
    value, gradient = negative_log_posterior(features, x, points, targets, counts)
    assert np.isfinite(value)
    for index in range(len(x)):
        step = np.eye(len(x))[index] * 1e-6
        above, _ = negative_log_posterior(features, x + step, points, targets, counts)
        below, _ = negative_log_posterior(features, x - step, points, targets, counts)
        assert gradient[index] == pytest.approx((above - below) / 2e-6, rel=1e-4, abs=1e-5)


def test_the_fit_learns_which_choice_matters():
    rows = mixed(4, 60)
    features = Features.of(MIXED, np.zeros(len(MIXED), dtype=bool))
    hyper = fit(features, features.encode(rows), normal_scores(rows[:, 2]), np.ones(60))
    by_name = dict(zip(["op"] * 5 + ["flag"] * 2 + ["width", "rate", "log"], hyper.weights, strict=True))
    assert by_name["width"] > 3 * max(by_name["op"], by_name["flag"], by_name["log"])


def test_two_rows_are_as_far_apart_as_their_choices_weigh():
    features = Features.of(OPS, np.array([False, False, False, True]))
    hyper = Hyper(np.arange(1.0, 14.0), 1.0, 0.1)
    rows = np.array([[0, 1, 2, np.nan], [0, 2, 2, np.nan], [0, 1, 2, 1]])
    points = features.encode(rows)
    distance = -np.log(kernel(hyper, points, points))
    assert distance[0, 1] == pytest.approx((5 + 6) / 2)
    assert distance[0, 2] == pytest.approx((11 + 13) / 2)


def test_fit_survives_covariances_without_a_cholesky_factor(monkeypatch):
    features, points = encoded(8, 17)
    targets = np.random.default_rng(9).normal(size=17)
    cholesky, calls = np.linalg.cholesky, []

    def fails_at_first_step(matrix):
        calls.append(matrix)
        if len(calls) == 2:
            raise np.linalg.LinAlgError
        return cholesky(matrix)

    monkeypatch.setattr(np.linalg, "cholesky", fails_at_first_step)
    hyper = fit(features, points, targets, np.ones(17))
    assert len(calls) > 3
    assert np.isfinite([*hyper.weights, hyper.signal, hyper.noise]).all()


@given(st.floats(-4, 3), st.floats(0.05, 3), st.floats(-3, 3))
@example(mean=-1.8125, deviation=0.296875, best=0.0)  # six deviations away
@settings(deadline=None, max_examples=30)
def test_expected_improvement_is_the_integral(mean, deviation, best):
    z = np.linspace(-12, 12, 40001)
    gain = np.maximum(mean + deviation * z - best, 0.0) * np.exp(-0.5 * z**2) / sqrt(2 * pi)
    integral = gain.sum() * (z[1] - z[0])
    found = log_expected_improvement(np.array([mean]), np.array([deviation]), best)[0]
    if integral > 1e-12:
        assert exp(found) == pytest.approx(integral, rel=1e-3)


def test_expected_improvement_ranks_where_it_is_too_small_for_floats():
    z = -np.linspace(1, 60, 400)
    values = log_expected_improvement(z, np.ones_like(z), 0.0)
    assert np.all(np.diff(values) < 0)
    assert np.all(np.isfinite(values))


def test_the_probability_of_keeping_a_limit():
    mean, deviation = np.array([0.0, 1.0, -2.0]), np.array([1.0, 2.0, 0.5])
    expected = [0.5 * (1 + erf((0.3 - m) / d / sqrt(2))) for m, d in zip(mean, deviation, strict=True)]
    np.testing.assert_allclose(np.exp(log_probability_below(mean, deviation, 0.3)), expected)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_hypervolume_improvement_is_what_random_points_say(objectives):
    rng = np.random.default_rng(5)
    front, points = rng.random((7, objectives)), rng.random((6, objectives)) * 1.3
    reference = np.full(objectives, 0.1)
    found = hypervolume_improvement(points, front, reference, np.random.default_rng(6))
    samples = reference + (1.4 - reference) * rng.random((200_000, objectives))
    free = ~np.any([(samples <= one).all(axis=1) for one in front], axis=0)
    volume = np.prod(1.4 - reference)
    for point, value in zip(points, found, strict=True):
        assert value == pytest.approx(volume * (free & (samples <= point).all(axis=1)).mean(), abs=0.03)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_improvement_in_two_objectives_is_the_difference_of_volumes(points):
    values = np.array(points)
    reference = np.array([-0.1, -0.2])
    front, new = values[1:], values[:1]
    gain = hypervolume_improvement(new, front, reference, np.random.default_rng(0))[0]
    above = [tuple(value) for value in (values - reference).tolist()]
    assert gain == pytest.approx(hypervolume(above) - hypervolume(above[1:]), abs=1e-12)


def test_the_front_is_what_nothing_dominates():
    values = np.random.default_rng(7).integers(0, 5, (40, 3)).astype(float)
    naive = [not any((o >= v).all() and (o > v).any() for o in values) for v in values]
    np.testing.assert_array_equal(pareto(values), naive)


def test_draws_are_quantiles_in_some_order():
    draws = normal_draws(np.random.default_rng(0), 8, 3)
    assert np.abs(draws.mean(axis=0)).max() < 1e-12
    np.testing.assert_allclose(np.sort(draws, axis=0)[:, 0], np.sort(draws, axis=0)[:, 2])


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=30))
@settings(deadline=None)
def test_normal_scores_keep_order_and_ties_and_can_be_read_back(numbers):
    values = np.array(numbers, dtype=float)
    scores = normal_scores(values)
    assert abs(scores.sum()) < 1e-6 or len(set(numbers)) < len(numbers)
    for one, other in product(range(len(values)), repeat=2):
        assert (values[one] < values[other]) == (scores[one] < scores[other] - 1e-12)
    np.testing.assert_allclose(raw_values(scores, values, scores), values, atol=1e-9)


def test_limits_keep_their_sign():
    targets = limit_targets(np.array([-3.0, 0.0, 1e9, -1e-3]))
    np.testing.assert_array_equal(np.sign(targets), [-1, 0, 1, -1])


def test_the_model_sees_the_best_rows_and_the_latest():
    rows, values = np.arange(100), -np.arange(100.0)
    np.testing.assert_array_equal(selected(rows, values, 10), [0, 1, 2, 3, 4, 95, 96, 97, 98, 99])
    np.testing.assert_array_equal(selected(rows[:9], values, 10), rows[:9])


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_neighbours_differ_in_one_level_and_mutants_in_at_most_three(seed):
    rng = np.random.default_rng(seed)
    search_space = SearchSpace(MIXED)
    row = search_space.draw(rng, 1)
    around = search_space.neighbours(row, rng)
    assert np.all((around != row).sum(axis=1) == 1)
    assert {int(level) for level in around[around[:, 0] != row[0, 0], 0]} == set(range(5)) - {int(row[0, 0])}
    assert np.all((search_space.mutants(row, rng, 50) != row).sum(axis=1) <= 3)
    for parameter, column in zip(MIXED, around.T, strict=True):
        units = parameter.units(column) if parameter.ordered else column / 5
        assert np.all((units >= 0) & (units <= 1))


def test_fixed_levels_stay():
    search_space = SearchSpace(OPS, fixed=np.array([np.nan, 2.0, np.nan, np.nan]))
    rng = np.random.default_rng(0)
    rows = search_space.filled(search_space.draw(rng, 5), rng)
    for made in (rows, search_space.neighbours(rows, rng), search_space.mutants(rows, rng, 20)):
        assert np.all(made[:, 1] == 2.0)


def three_deep(full):
    """The second is active if the first is 1, the third if the second is active and at least 1; the last always."""
    second = full[:, 0] == 1
    return np.stack([np.full(len(full), True), second, second & (full[:, 1] >= 1), np.full(len(full), True)], axis=1)


def test_conditions_are_learnt_from_trials():
    everything = np.array(list(product(range(3), repeat=4)), dtype=float)
    some = np.random.default_rng(0).permutation(everything)[:40]
    conditions = Conditions.learn(OPS, np.where(three_deep(some), some, np.nan))
    np.testing.assert_array_equal(conditions(everything), three_deep(everything))


def test_every_row_of_a_conditional_search_space_comes_once_and_then_none():
    search_space, rng = SearchSpace(OPS, three_deep), np.random.default_rng(0)
    seen = np.empty((0, 4))
    while (row := draw_unseen(search_space, seen, rng)) is not None:
        assert not repeats(row[None], seen)[0]
        seen = np.concatenate([seen, search_space.bare(row[None])])
    assert len(seen) == 2 * 3 + (3 + 2 * 3 * 3)
    assert find_unseen(search_space, seen[:-1], rng) is not None


def test_proposals_are_never_repeats_and_find_the_best():
    search_space, rows, values = SearchSpace(OPS), np.empty((0, 4)), []
    for number in range(30):
        problem = Problem(
            search_space=search_space,
            rows=rows,
            counts=np.ones(len(rows)),
            running=np.zeros(len(rows), dtype=bool),
            objectives=[Quantity(values=np.array(values))],
        )
        row = propose(problem, np.random.default_rng([0, number]))
        assert not repeats(row[None], rows)[0]
        rows = np.concatenate([rows, row[None]])
        values.append(float(-(np.abs(row - [2, 0, 1, 2]) > 0).sum()))
    assert max(values) == 0.0


def test_running_rows_keep_others_away():
    rng = np.random.default_rng(0)
    rows = SearchSpace(OPS).draw(rng, 12)
    rows = np.unique(rows, axis=0)
    values = -rows.sum(axis=1)

    def after(running):
        known = np.where(running, np.nan, values)
        problem = Problem(
            search_space=SearchSpace(OPS),
            rows=rows,
            counts=np.ones(len(rows)),
            running=running,
            objectives=[Quantity(values=known)],
        )
        return propose(problem, np.random.default_rng(1))

    running = np.arange(len(rows)) % 3 == 0
    assert not repeats(after(running)[None], rows)[0]


def test_known_limits_are_kept_before_anything_is_measured_beyond_them():
    rng = np.random.default_rng(0)
    rows = np.unique(SearchSpace(OPS).draw(rng, 15), axis=0)
    limit = Quantity(values=rows.sum(axis=1) - 3.0, exact=lambda bare: bare.sum(axis=1) - 3.0)
    problem = Problem(
        search_space=SearchSpace(OPS),
        rows=rows,
        counts=np.ones(len(rows)),
        running=np.zeros(len(rows), dtype=bool),
        objectives=[Quantity(values=rows.sum(axis=1))],
        constraints=[limit],
    )
    assert propose(problem, np.random.default_rng(2)).sum() <= 3.0
