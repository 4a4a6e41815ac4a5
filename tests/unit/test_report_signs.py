"""The sign-flip test against plain enumeration."""

from itertools import product
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmix_nas.report.claims import holm, seeds_needed, sign_flip


@given(st.lists(st.integers(-40, 40).map(lambda n: n / 2000), min_size=1, max_size=9))
def test_p_is_the_share_of_signs_that_give_as_much(differences: list[float]) -> None:
    means = [
        fmean(s * d for s, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    share = fmean(abs(mean) >= abs(fmean(differences)) - 1e-9 for mean in means)
    assert sign_flip(differences) == pytest.approx(share)


def test_many_seeds_are_counted_exactly() -> None:
    differences = [k / 5000 for k in range(1, 41)]
    assert sign_flip(differences) == pytest.approx(2 / 2**40)


def test_holm_by_example() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert adjusted == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}


@pytest.mark.parametrize(("comparisons", "seeds"), [(1, 6), (7, 9), (8, 9), (36, 11)])
def test_seven_comparisons_need_nine_seeds(comparisons: int, seeds: int) -> None:
    assert seeds_needed(comparisons) == seeds
    assert comparisons * 2 / 2**seeds <= 0.05 < comparisons * 2 / 2 ** (seeds - 1)
