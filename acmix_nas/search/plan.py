"""How a search goes about it: what is optimised, limited and pruned. A study keeps to what it began with."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acmix_nas.cost.latency import LatencyTable
from acmix_nas.errors import CostError, UsageError
from acmix_nas.fields import Origin
from acmix_nas.metrics import COSTS, TOP1, Metric
from acmix_nas.record import StudyHeader
from acmix_nas.samplers.make import check_sampler
from acmix_nas.search.candidates import SAMPLER
from acmix_nas.search.objectives import Prices, check_covers, check_table
from acmix_nas.search.rungs import rungs_of
from acmix_nas.space import Space, Values
from acmix_nas.study.settings import check_same
from acmix_nas.study.study import Study
from acmix_nas.train import Budget

TABLE = "latency.json"
"""The study's own copy of its latency table."""
ROOM = 1.1
"""How far the reference lies beyond the largest cost of the first networks."""
DRAWN = 32
"""Networks that stand for the first ones where a space names none."""
PRUNED_FROM = 3
"""Epochs of the smallest budget that is pruned by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the user said of a search; None stands for the default, or on resuming for what the study has.

    Attributes:
        metric: What networks are trained for.
        objectives: Names of what is optimised.
        limits: Name of a cost -> its largest value; empty for none.
        prune: "asha" or "none".
        sampler: Name of a sampler.
        table: File of a latency table.
        warm_start: Names of the studies whose records are brought over.
    """

    metric: Metric = TOP1
    objectives: tuple[str, ...] | None = None
    limits: Mapping[str, float] | None = None
    prune: str | None = None
    sampler: str | None = None
    table: Path | None = None
    warm_start: tuple[str, ...] = ()

    def check(self, space: Space) -> None:
        """Refuses a plan that a new study of the space cannot begin with.

        Raises:
            UsageError: An objective or a limit needs a latency table, or there is no such sampler.
            PluginError: The user's own sampler cannot be imported.
            CostError: The table is unreadable, or does not know the space.
        """
        check_sampler(self.sampler or SAMPLER)
        table = self._load()
        check_table(self.objectives or (), self.limits or {}, table)
        if table is not None:
            check_covers(table, space)

    def kept(self, budget: Budget) -> dict[str, Any]:
        """What a new study keeps of it.

        Raises:
            UsageError: Pruning is wanted in a budget of one epoch.
        """
        table = self._load()
        return {
            "prune": self._pruning(budget.epochs),
            "sampler": self.sampler or SAMPLER,
            "limits": dict(self.limits or {}),
            "latency_table": table and {"sha256": self._digest(), "device_name": table.env.get("device_name")},
            "warm_start": list(self.warm_start),
        }

    def reference(self, space: Space, first: Mapping[str, Values]) -> dict[str, float]:
        """The reference point of the hypervolume of a new study.

        Args:
            space: The space.
            first: Label -> values of the networks that the study trains first.
        """
        prices = Prices(space.input_size, self._load())
        return reference(space, first, self.objectives or (), prices, metric=self.metric)

    def check_resumed(self, header: StudyHeader) -> None:
        """Refuses to go on with a study in another way than it began.

        Raises:
            StudyError: The message names what differs.
        """
        said: dict[str, Any] = {"prune": self.prune, "sampler": self.sampler, "limits": self.limits or None}
        check_same(header, {name: value for name, value in said.items() if value is not None})
        if self.table is not None:
            before = header.settings.get("latency_table") or {}
            check_same(header, {"latency_table": {**before, "sha256": self._digest()}})
        if self.objectives is not None:
            began = StudyHeader.from_dict({**header.to_dict(), "settings": {"objectives": list(header.objectives)}})
            check_same(began, {"objectives": list(self.objectives)})

    def keep_table(self, folder: Path) -> None:
        """Copies the latency table into the folder of a new study."""
        table = self._load()
        if table is not None:
            table.save(folder / TABLE)

    def _load(self) -> LatencyTable | None:
        return LatencyTable.load(self.table) if self.table else None

    def _digest(self) -> str | None:
        """Tells tables apart by what they say."""
        if self.table is None:
            return None
        content = json.dumps(Origin(self.table, CostError).read(), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def _pruning(self, epochs: int) -> str:
        if self.prune == "asha" and not rungs_of(epochs):
            raise UsageError(f"--prune asha stops trials between epochs, and the budget has {epochs}; add --epochs.")
        return self.prune or ("asha" if epochs >= PRUNED_FROM else "none")


def reference(
    space: Space, first: Mapping[str, Values], objectives: Sequence[str], prices: Prices, *, metric: Metric = TOP1
) -> dict[str, float]:
    """Objective -> its value at the reference point of the hypervolume: known before any training, it never moves.

    That is the worst score, and `ROOM` times the largest cost of the first networks. Of what is to be large, images a
    second, it is the least of them divided by `ROOM`. A metric without a worst and a best value has no such point, and
    its studies tell no hypervolume.

    Args:
        space: The space.
        first: Label -> values of the networks that the study trains first.
        objectives: What the study optimises.
        prices: Exact costs; they tell every objective beside the metric.
        metric: What networks are trained for.
    """
    if metric.worst is None or metric.best is None:
        return {}
    chance = random.Random(0)
    named = list(first.values()) or [space.sample(lambda choice: chance.choice(choice.options)) for _ in range(DRAWN)]
    costs = [prices(space.build(values)) for values in named]
    found = {}
    for name in objectives:
        if name not in COSTS:
            found[name] = float(metric.worst)
            continue
        values = [float(getattr(cost, name)) for cost in costs]
        found[name] = ROOM * max(values) if COSTS[name].better == "lower" else min(values) / ROOM
    return found


def prices_of(study: Study, space: Space) -> Prices:
    """The exact costs of a study's networks, with latency if it has a table."""
    table = study.folder / TABLE
    return Prices(space.input_size, LatencyTable.load(table) if table.is_file() else None)
