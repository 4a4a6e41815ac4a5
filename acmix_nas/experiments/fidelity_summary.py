"""What the trainings and scores of a sample of networks say about a proxy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acmix_nas.errors import StudyError
from acmix_nas.experiments.rank_correlation import Agreement, agreement
from acmix_nas.experiments.stored_fidelity import (
    CEILING,
    FIRST_EPOCH,
    Fidelity,
    definition,
    learned_of,
    plain,
)
from acmix_nas.experiments.zero_cost import Scores
from acmix_nas.record import TrialRecord
from acmix_nas.space import Space
from acmix_nas.tasks import pick_metric
from acmix_nas.train import Setting

LEAST = 4
"""Least networks for a rank correlation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What is known of a network: its trainings, the large one again if it was done again, and its zero-cost scores."""

    cheap: TrialRecord
    large: TrialRecord
    again: TrialRecord | None
    scores: Scores

    @property
    def is_trained(self) -> bool:
        """Whether all trainings came to their end."""
        return all(record is None or record.score is not None for record in (self.cheap, self.large, self.again))

    def values(self, sign: int) -> dict[str, float | None]:
        """What the network is ordered by, under the names of the table's rows; scores times `sign`: more is better."""
        first = {FIRST_EPOCH: sign * self.cheap.scores[0]} if len(self.cheap.scores) > 1 else {}
        again = {} if self.again is None else {CEILING: sign * (self.again.score or 0.0)}
        cost = self.large.cost
        return {
            "proxy": sign * (self.cheap.score or 0.0),
            **first,
            "params": float(cost.params),
            "macs": float(cost.macs),
            **self.scores,
            **again,
        }


def summarise(networks: Sequence[Network], space: Space, cheap: Setting, large: Setting, seed: int) -> Fidelity:
    """How well the orders of networks by what is known of them agree with that of their large trainings.

    Args:
        networks: The sample.
        space: Its space.
        cheap: Setting of the cheap training.
        large: That of the large one.
        seed: Of the draws of the intervals, and what the summary says of the trainings.

    Raises:
        StudyError: Fewer than four networks were trained to the end.
    """
    done = [network for network in networks if network.is_trained]
    if len(done) < LEAST:
        records = [record for network in networks for record in (network.cheap, network.large, network.again) if record]
        failed = next(record.error for record in records if record.error)
        raise StudyError(
            f"an order needs {LEAST} networks or more; {len(done)} were trained. The first failed: {failed}"
        )
    sign = -1 if pick_metric(large.learned, large.metric).better == "lower" else 1
    ranked = [sign * (network.large.score or 0.0) for network in done]
    better = [network for network, value in zip(done, ranked, strict=True) if value >= np.median(ranked)]
    return Fidelity(
        space=definition(space),
        proxy=plain(cheap.proxy.to_dict()),
        fingerprint=cheap.splits.fingerprint,
        cheap=cheap.budget.to_dict(),
        large=large.budget.to_dict(),
        archs=len(done),
        failed=len(networks) - len(done),
        seed=seed,
        learned=learned_of(cheap),
        agreements=_agreements(done, seed, sign),
        better_half=_agreements(better, seed, sign) if len(better) >= LEAST else {},
    )


def _agreements(networks: Sequence[Network], seed: int, sign: int) -> dict[str, Agreement]:
    """How the order by each value agrees with that of the large training; values that a network lacks are left out."""
    large = [sign * (network.large.score or 0.0) for network in networks]
    rows = [network.values(sign) for network in networks]
    orders = {name: [value for row in rows if (value := row[name]) is not None] for name in rows[0]}
    return {name: agreement(order, large, seed=seed) for name, order in orders.items() if len(order) == len(large)}
