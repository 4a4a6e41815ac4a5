import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmix_nas.data.draw import draw_balanced, draw_held_out
from acmix_nas.errors import DataError

COUNTS = st.lists(st.integers(2, 30), min_size=2, max_size=7)
SEEDS = st.integers(0, 2**31)


def shuffled_labels(counts: list[int]) -> np.ndarray:
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return np.random.default_rng(0).permutation(labels)


@given(counts=COUNTS, seed=SEEDS, data=st.data())
def test_a_balanced_draw_has_unique_images_and_equal_classes(counts, seed, data):
    labels = shuffled_labels(counts)
    size = data.draw(st.integers(len(counts), len(labels)))
    chosen = draw_balanced(labels, size, seed)
    taken = np.bincount(labels[chosen], minlength=len(counts))
    assert len(chosen) == size == len(set(chosen.tolist()))
    assert all(n == c or n >= taken.max() - 1 for n, c in zip(taken, counts, strict=True))


@given(counts=COUNTS, seed=SEEDS, data=st.data())
def test_a_held_out_draw_is_proportional_and_empties_no_class(counts, seed, data):
    labels = shuffled_labels(counts)
    size = data.draw(st.integers(len(counts), len(labels) - len(counts)))
    taken = np.bincount(labels[draw_held_out(labels, size, seed)], minlength=len(counts))
    assert taken.sum() == size
    assert all(1 <= n < c for n, c in zip(taken, counts, strict=True))
    share = [n / c for n, c in zip(taken, counts, strict=True) if 1 < n < c - 1]
    assert all(abs(a - b) <= 1 / min(counts) + 1e-9 for a in share for b in share)


@given(counts=COUNTS, seed=SEEDS, data=st.data())
@pytest.mark.parametrize("draw", [draw_balanced, draw_held_out])
def test_a_larger_draw_contains_the_smaller_and_the_seed_decides(draw, counts, seed, data):
    labels = shuffled_labels(counts)
    most = len(labels) - len(counts)
    small = data.draw(st.integers(len(counts), most))
    large = data.draw(st.integers(small, most))
    assert set(draw(labels, small, seed)) <= set(draw(labels, large, seed))
    np.testing.assert_array_equal(draw(labels, small, seed), draw(labels, small, seed))


def test_another_seed_draws_other_images():
    labels = shuffled_labels([50, 50])
    assert set(draw_balanced(labels, 20, 1)) != set(draw_balanced(labels, 20, 2))
    assert set(draw_held_out(labels, 20, 1)) != set(draw_held_out(labels, 20, 2))


def test_no_size_means_all():
    np.testing.assert_array_equal(draw_balanced(shuffled_labels([3, 5]), None, 0), np.arange(8))


@pytest.mark.parametrize("size", [-1, 0, 2, 16])
def test_a_balanced_draw_refuses_sizes_it_cannot_have(size):
    with pytest.raises(DataError, match=rf"3 classes .* all 15 images; {size} were asked"):
        draw_balanced(shuffled_labels([5, 5, 5]), size, 0)


@pytest.mark.parametrize("size", [-1, 0, 13])
def test_a_held_out_draw_refuses_sizes_it_cannot_have(size):
    with pytest.raises(DataError, match=rf"1 to 12 of the 15 .* should have {size}"):
        draw_held_out(shuffled_labels([5, 5, 5]), size, 0)
