import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmix_nas.cost.compare import FASTER, LEAST_ROUNDS, NONE_SEEN, SLOWER, TOO_FEW, Ratio, compare

times = st.lists(st.tuples(st.floats(1, 1000), st.floats(1, 1000)), min_size=LEAST_ROUNDS, max_size=30)


def noisy(rounds: int, ratio: float, *, seed: int, noise: float = 0.05) -> tuple[list[float], list[float]]:
    """Times of a baseline and of a run, on a machine that drifts and slows both alike."""
    random = np.random.default_rng(seed)
    drift = np.exp(0.3 * np.sin(np.arange(rounds)) + np.cumsum(0.02 * random.standard_normal(rounds)))
    first, second = np.exp(noise * random.standard_t(4, (2, rounds))) * drift
    return list(10 * first), list(10 * ratio * second)


def test_an_exact_ratio_is_found_through_any_common_drift():
    baseline, _ = noisy(20, 1.0, seed=1)
    found = compare(baseline, [1.83 * time for time in baseline])
    assert (found.ratio, found.low, found.high) == pytest.approx((1.83, 1.83, 1.83))
    assert (found.difference, str(found)) == (SLOWER, "1.83x [1.83, 1.83]")


@given(times)
def test_the_interval_holds_the_ratio_and_swapping_turns_it_round(rounds):
    first, second = zip(*rounds, strict=True)
    there, back = compare(first, second), compare(second, first)
    assert there.low <= there.ratio * 1.0000001
    assert there.ratio <= there.high * 1.0000001
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)
    opposite = {SLOWER: FASTER, FASTER: SLOWER, NONE_SEEN: NONE_SEEN}
    assert back.difference == opposite[there.difference]


@given(times, st.floats(0.01, 100))
def test_the_unit_of_time_changes_nothing(rounds, unit):
    first, second = zip(*rounds, strict=True)
    scaled = compare([unit * time for time in first], [unit * time for time in second])
    assert scaled.ratio == pytest.approx(compare(first, second).ratio)


def test_of_equal_runs_at_most_one_in_ten_is_called_different():
    said = [compare(*noisy(20, 1.0, seed=seed), margin=0.0).difference for seed in range(200)]
    assert 0 < sum(difference != NONE_SEEN for difference in said) <= 20


def test_false_claims_are_rare_and_true_ones_are_found():
    said = [compare(*noisy(30, 1.08, seed=seed), margin=0.01).difference for seed in range(200)]
    assert said.count(FASTER) == 0
    assert said.count(SLOWER) > 150


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    held = [found.low <= 1.3 <= found.high for seed in range(300) if (found := compare(*noisy(25, 1.3, seed=seed)))]
    assert 0.91 <= np.mean(held) <= 0.99


def test_a_difference_within_the_margin_is_none():
    baseline, _ = noisy(20, 1.0, seed=3)
    slower = [1.02 * time for time in baseline]
    within = compare(baseline, slower, margin=0.03)
    assert within.difference == NONE_SEEN
    assert str(within) == "no difference seen [1.020, 1.020]"
    assert compare(baseline, slower, margin=0.01).difference == SLOWER
    assert compare(slower, baseline, margin=0.01).difference == FASTER


def test_too_few_rounds_have_no_interval():
    found = compare([1.0] * (LEAST_ROUNDS - 1), [2.0] * (LEAST_ROUNDS - 1))
    assert found == Ratio(ratio=pytest.approx(2), low=None, high=None, difference=TOO_FEW)
    assert str(found) == "2.00x, too few rounds"


def test_a_small_difference_is_shown_with_the_digits_that_tell_it():
    assert str(Ratio(ratio=1.034, low=1.021, high=1.046, difference=SLOWER)) == "1.034x [1.021, 1.046]"
    assert str(Ratio(ratio=0.61, low=0.601, high=0.619, difference=FASTER)) == "0.61x [0.60, 0.62]"


def test_the_same_times_give_the_same_interval():
    assert compare(*noisy(15, 1.1, seed=5)) == compare(*noisy(15, 1.1, seed=5))
