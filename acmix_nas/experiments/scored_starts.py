"""Networks that a search begins with because scores that need no training prefer them."""

import logging
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from acmix_nas.arch import Arch
from acmix_nas.experiments.stored_fidelity import ZERO_COST, Fidelity
from acmix_nas.search.objectives import Prices, broken
from acmix_nas.search.starts import POOL, best_by_scores, count_chosen
from acmix_nas.space import Space, Values
from acmix_nas.train import Setting
from acmix_nas.train.zero_cost import zero_cost_scores

log = logging.getLogger(__name__)

FREE = ("params", "macs")
"""Scores that are counted from the description of a network."""
IMAGES = 500
"""Training images that take as long as the zero-cost scores of a network, roughly."""
AFFORDABLE = 0.05
"""Zero-cost scores are computed where they take at most this share of a study's training images."""
DRAWS = 4
"""Draws for each network of the pool, at most: a small space has fewer networks."""


@dataclass(frozen=True, slots=True)
class ScoredStarts:
    """The networks.

    Attributes:
        values: Of each network, in the space's choices, best first.
        text: Why them, in a line; "" where there are none.
    """

    values: tuple[Values, ...] = ()
    text: str = ""


def signs(found: Fidelity) -> dict[str, int]:
    """1 or -1 for each score whose rank correlation with long training is told from zero in a fidelity record."""
    shown = {}
    for name in (*FREE, *ZERO_COST):
        agreement = found.agreements.get(name)
        if agreement is not None and (agreement.spearman.low > 0 or agreement.spearman.high < 0):
            shown[name] = 1 if agreement.spearman.value > 0 else -1
    return shown


def scored_starts(
    space: Space,
    setting: Setting,
    found: Fidelity | None,
    prices: Prices,
    *,
    limits: Mapping[str, float],
    seed: int,
    starts: int,
    trials: int,
    has_images: bool,
) -> ScoredStarts:
    """Chooses half of the random starts of a study from many random networks, by the mean rank of scores.

    Args:
        space: The space.
        setting: How its networks are trained.
        found: What was measured of the proxy on these images; only scores that it shows to rank networks are used, with
            the sign that it shows.
        prices: Exact costs of networks.
        limits: Name of a cost -> its largest value.
        seed: Of the draws, and of weights and images of zero-cost scores.
        starts: Random starts of the study.
        trials: Trials of the study.
        has_images: Whether networks can be built and shown images; else, as where they cost too much for the study's
            length, zero-cost scores are left out.
    """
    shown, count = {} if found is None else signs(found), count_chosen(starts)
    pool = list(_pool(space, setting, prices, limits, seed)) if shown and count else []
    budget = setting.budget
    trained = trials * budget.epochs * budget.images * budget.repeats
    if not has_images or len(pool) * IMAGES > AFFORDABLE * trained:
        shown = {name: sign for name, sign in shown.items() if name in FREE}
    if len(pool) <= count or not shown:
        return ScoredStarts()
    scores = [_scores(arch, setting, prices, seed, shown) for _, arch in pool]
    chosen = tuple(pool[place][0] for place in best_by_scores(scores, shown, count))
    by = " and ".join(f"{'more' if sign > 0 else 'less'} {name}" for name, sign in shown.items())
    return ScoredStarts(chosen, f"{count} of {starts} random starts chosen from {len(pool)} by {by}")


def _pool(
    space: Space, setting: Setting, prices: Prices, limits: Mapping[str, float], seed: int
) -> Iterator[tuple[Values, Arch]]:
    """Random networks within the limits whose proxies differ, without the space's first."""
    chance = random.Random(f"{seed}/pool")
    seen = {setting.proxy.shrink(space.build(values)).id for values in space.first.values()}
    found = 0
    for _ in range(DRAWS * POOL):
        values = space.sample(lambda choice: chance.choice(choice.options))
        arch = space.build(values)
        proxy = setting.proxy.shrink(arch).id
        if proxy not in seen and not broken(limits, prices(arch)):
            seen.add(proxy)
            found += 1
            yield values, arch
        if found == POOL:
            return


def _scores(arch: Arch, setting: Setting, prices: Prices, seed: int, shown: Mapping[str, Any]) -> dict[str, float]:
    cost = prices(arch)
    computed = zero_cost_scores(arch, setting, seed=seed) if {*shown} - {*FREE} else {}
    return {"params": float(cost.params), "macs": float(cost.macs), **computed}
