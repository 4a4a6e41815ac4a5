"""The point that hypervolumes of a study are told by: known before any training, so that it never moves."""

import random
from collections.abc import Mapping, Sequence

from acmix_nas.metrics import COSTS
from acmix_nas.search.objectives import Prices
from acmix_nas.space import Space, Values

ROOM = 1.1
"""How far the reference lies beyond the dearest of the first networks."""
DRAWN = 32
"""Networks that stand for the first ones where a space names none."""


def reference(space: Space, first: Mapping[str, Values], objectives: Sequence[str], prices: Prices) -> dict[str, float]:
    """Objective -> its value at the reference point: top-1 0, and `ROOM` times the largest cost of the first networks.

    Of what is to be large, images a second, it is the least of them divided by `ROOM`.

    Args:
        space: The space.
        first: Label -> values of the networks that the study trains first.
        objectives: What the study optimises.
        prices: Exact costs; they tell every objective beside top-1.
    """
    chance = random.Random(0)
    named = list(first.values()) or [space.sample(lambda choice: chance.choice(choice.options)) for _ in range(DRAWN)]
    costs = [prices(space.build(values)) for values in named]
    found = {}
    for name in objectives:
        values = [0.0] if name == "top1" else [float(getattr(cost, name)) for cost in costs]
        found[name] = ROOM * max(values) if name in COSTS and COSTS[name].better == "lower" else min(values) / ROOM
    return found
