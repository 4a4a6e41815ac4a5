"""Shares of variance on functions whose shares are known."""

import random
from dataclasses import replace
from itertools import combinations, product
from math import comb

import numpy as np
import pytest

from acmix_nas.samplers.distributions import columns_of_space, search_space_of
from acmix_nas.search.importance import hanging, shapley, shares
from acmix_nas.space import Choice, load_space

COMBINE = ("att", "conv", "half", "learned")
CONVOLVES = {"stages.3.combine": COMBINE[1:]}
CHOICES = (
    Choice("stages.3.combine", COMBINE),
    Choice("stages.3.head_dim", (16, 32, 48), ordered=True),
    Choice("stages.3.conv_kernel", (3, 5, 7), ordered=True, when=CONVOLVES),
    Choice("stages.3.conv_impl", ("groupconv", "full"), when=CONVOLVES),
    Choice("stages.3.conv_init", (1, 2), when={"stages.3.conv_impl": ("full",)}),
)
SPACE = replace(load_space("swin_t"), choices=CHOICES, first={})


def drawn(score, count=150, seed=0, noise=0.0):
    rng = random.Random(seed)
    values = [SPACE.sample(lambda choice: rng.choice(choice.options)) for _ in range(count)]
    return [(one, score(one) + noise * rng.gauss(0, 1)) for one in values]


def kernel(values):
    """-1, 0, 1; 0 without a convolution."""
    return {3: -1.0, 5: 0.0, 7: 1.0, None: 0.0}[values.get("stages.3.conv_kernel")]


KNOWN = {
    # 0.998 of the variance is whether it attends alone, the rest noise.
    "the parent decides": (lambda v: 0.2 * (v["stages.3.combine"] == "att"), {"stages.3.combine": 1.0}),
    # Var(kernel part) = (3/4)^2 * 2/3, the gate's interaction (3/4)(1/4) * 2/3: shares 3/4 and 1/4, halved.
    "the child decides, where it has a say": (kernel, {"stages.3.conv_kernel": 0.875, "stages.3.combine": 0.125}),
    # Variances: 4 * 3/16 of the parent, 0.25 * 2/3 of the other.
    "two that add": (
        lambda v: 2.0 * (v["stages.3.combine"] == "att") + 0.5 * (v["stages.3.head_dim"] - 32) / 16,
        {"stages.3.combine": 0.75 / (0.75 + 1 / 6), "stages.3.head_dim": (1 / 6) / (0.75 + 1 / 6)},
    ),
    # A product of two independent parts of mean 0 is all interaction.
    "two that multiply": (
        lambda v: (1 if v["stages.3.combine"] in ("att", "conv") else -1) * (v["stages.3.head_dim"] - 32) / 16,
        {"stages.3.combine": 0.5, "stages.3.head_dim": 0.5},
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_shares_are_found_from_trials(name):
    score, expected = KNOWN[name]
    found = shares(SPACE, drawn(score, noise=0.01 if name == "the parent decides" else 0.0))
    assert found.explained > 0.9
    for choice in CHOICES:
        assert found.own[choice.name] == pytest.approx(expected.get(choice.name, 0.0), abs=0.04)


def test_the_subtree_holds_all_that_hangs_on_a_choice():
    assert hanging(SPACE, "stages.3.combine") == (
        "stages.3.combine",
        "stages.3.conv_kernel",
        "stages.3.conv_impl",
        "stages.3.conv_init",
    )
    assert hanging(SPACE, "stages.3.conv_impl") == ("stages.3.conv_impl", "stages.3.conv_init")
    found = shares(SPACE, drawn(kernel))
    assert found.subtree["stages.3.combine"] == pytest.approx(1.0, abs=0.02)
    assert found.subtree["stages.3.conv_kernel"] == found.own["stages.3.conv_kernel"]
    assert list(found.own) == sorted(found.own, key=lambda name: -found.own[name])


def test_walks_give_the_shapley_value_by_its_definition():
    """Of a random function of four choices, one of which is there for some values of another only."""
    search_space = search_space_of(SPACE, columns_of_space(SPACE))
    sizes = [len(choice.options) for choice in CHOICES]
    rows = np.array(list(product(*map(range, sizes))), dtype=float)
    table = {
        row.tobytes(): value
        for row, value in zip(search_space.bare(rows), np.random.default_rng(3).normal(size=len(rows)), strict=True)
    }
    values = np.array([table[row.tobytes()] for row in search_space.bare(rows)])

    def explained(kept):
        """Variance of the mean over all but these choices."""
        grid = values.reshape(sizes)
        gone = tuple(place for place in range(len(sizes)) if place not in kept)
        return grid.mean(axis=gone).var() if kept else 0.0

    width = len(sizes)
    exact = np.zeros(width)
    for one in range(width):
        others = [place for place in range(width) if place != one]
        for size in range(width):
            for kept in combinations(others, size):
                gain = explained((*kept, one)) - explained(kept)
                exact[one] += gain / (width * comb(width - 1, size))
    found = shapley(
        search_space, lambda bare: np.array([table[row.tobytes()] for row in bare]), np.random.default_rng(0)
    )
    assert exact.sum() == pytest.approx(values.var())
    np.testing.assert_allclose(found / values.var(), exact / values.var(), atol=0.03)


def test_the_same_trials_give_the_same_shares_and_all_alike_none():
    trials = drawn(kernel, 12)
    assert shares(SPACE, trials) == shares(SPACE, trials)
    assert shares(SPACE, [(values, 0.5) for values, _ in trials]) is None


def test_noise_is_not_explained():
    found = shares(SPACE, drawn(lambda values: 0.0, 60, noise=1.0))
    assert found.explained < 0.25
