"""Successive halving as arithmetic: rungs, who goes on, and whether a rung foretells the end."""

import math
import random
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmix_nas.front import beats, hypervolume
from acmix_nas.search.rungs import (
    ETA,
    LEAST_JUDGED,
    MARGIN,
    beaten_by,
    is_protected,
    leaders,
    lower_bound,
    rungs_of,
)

units = st.integers(0, 6).map(lambda k: k / 6)


def points(dimensions: int):
    return st.lists(st.tuples(*[units] * dimensions), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, ()), (2, (1,)), (3, (1,)), (5, (1, 2)), (9, (1, 3)), (20, (2, 7)), (90, (10, 30))]
)
def test_rungs_are_about_a_ninth_and_a_third_of_the_budget(epochs, rungs):
    assert rungs_of(epochs) == rungs


@given(st.lists(st.floats(0, 1), min_size=0, max_size=30, unique=True))
def test_with_one_objective_the_best_third_goes_on(scores):
    chosen = leaders({number: (score,) for number, score in enumerate(scores)})
    best = sorted(range(len(scores)), key=lambda number: -scores[number])
    assert chosen == best[: len(scores) // ETA]


@given(st.integers(1, 3).flatmap(points))
def test_no_dominated_trial_goes_on_first(values):
    chosen = leaders(dict(enumerate(values)))
    assert len(chosen) == len(set(chosen)) == len(values) // ETA
    for place, number in enumerate(chosen):
        better = {other for other, at in enumerate(values) if beats(at, values[number])}
        assert better <= set(chosen[:place])


@given(st.integers(1, 3).flatmap(points))
def test_who_is_beaten_by_how_many(values):
    expected = {number: sum(beats(other, at) for other in values) for number, at in enumerate(values)}
    assert beaten_by(dict(enumerate(values))) == expected


def test_the_best_score_goes_on_first_and_then_what_adds_most_to_the_front():
    values = {0: (0.9, -9.0), 1: (0.89, -8.9), 2: (0.6, -3.0), 3: (0.1, -2.9)}
    values |= dict.fromkeys(range(4, 9), (0.05, -9.5))
    assert leaders(values)[0] == 0
    assert set(leaders(values)) == {0, 2, 1} or set(leaders(values)) == {0, 2, 3}
    assert leaders(values)[1] == 2


@given(st.integers(1, 3).flatmap(points))
def test_hypervolume_is_the_volume_of_the_union_of_boxes(values):
    axes = [sorted({-MARGIN, *(point[axis] for point in values)}) for axis in range(len(values[0]))]
    expected = 0.0
    for cell in product(*(pairwise(axis) for axis in axes)):
        if any(all(point[axis] >= high for axis, (_, high) in enumerate(cell)) for point in values):
            expected += math.prod(high - low for low, high in cell)
    assert hypervolume(values, -MARGIN) == pytest.approx(expected, abs=1e-12)


def test_a_tenth_is_protected_the_same_tenth_every_time():
    protected = [number for number in range(3000) if is_protected(5, number)]
    assert 230 < len(protected) < 370
    assert protected == [number for number in range(3000) if is_protected(5, number)]
    assert protected != [number for number in range(3000) if is_protected(6, number)]


@given(st.permutations(range(12)))
def test_the_bound_is_that_of_fisher_for_the_textbook_coefficient(order):
    pairs = [(float(early), float(final)) for early, final in enumerate(order)]
    rho = 1 - 6 * sum((a - b) ** 2 for a, b in pairs) / (12 * (12**2 - 1))
    expected = math.tanh(math.atanh(max(min(rho, 0.999999), -0.999999)) - 1.645 * math.sqrt(1.06 / 9))
    assert lower_bound(pairs) == pytest.approx(expected)


def test_a_rung_is_judged_once_enough_is_known():
    chance = random.Random(0)
    assert lower_bound([(k, k) for k in range(LEAST_JUDGED - 1)]) is None
    assert lower_bound([(k, k) for k in range(LEAST_JUDGED)]) > 0.5
    assert lower_bound([(k, chance.random()) for k in range(40)]) < 0.5
    assert lower_bound([(1.0, k) for k in range(LEAST_JUDGED)]) < 0.5
