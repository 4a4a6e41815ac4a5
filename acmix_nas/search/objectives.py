"""What a search may optimise and what it must keep to: exact costs and limits."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from acmix_nas.arch import Arch
from acmix_nas.cost import count
from acmix_nas.cost.latency import LatencyTable
from acmix_nas.errors import CostError, UsageError
from acmix_nas.metrics import COSTS, TIMED, TOP1, Metric
from acmix_nas.record import Cost
from acmix_nas.sizes import Size
from acmix_nas.space import Space, Values
from acmix_nas.study.study import Study

TABLE = "latency.json"
"""The study's own copy of its latency table."""
ROOM = 1.1
"""How far the reference lies beyond the largest cost of the first networks."""
DRAWN = 32
"""Networks that stand for the first ones where a space names none."""


def parse_objectives(text: str, metric: Metric = TOP1) -> tuple[str, ...]:
    """The names of "top1,macs".

    Args:
        text: Names with commas between.
        metric: What the networks are trained for, one of the objectives.

    Raises:
        UsageError: A name is unknown or given twice, or the metric is missing.
    """
    names = tuple(name.strip() for name in text.split(","))
    known = (metric.name, *COSTS)
    if not set(names) <= set(known) or len(set(names)) < len(names):
        raise UsageError(f"objectives are some of {', '.join(known)}, each once, separated by commas; not {text!r}.")
    if metric.name not in names:
        raise UsageError(f"a search trains networks for their {metric.name}; name it among the objectives {text!r}.")
    return names


@dataclass(frozen=True, slots=True)
class Prices:
    """Exact costs of the full networks of a space, known before any training; each is counted once.

    Args:
        input_size: Height and width in pixels that is counted at, one number for squares.
        table: Tells latency, where it is wanted.
        cost_of: What a network costs with the head of its task; by default as a classifier.
    """

    input_size: Size
    table: LatencyTable | None = None
    cost_of: Callable[[Arch], Cost] | None = None
    _known: dict[Arch, Cost] = field(default_factory=dict, repr=False)

    def __call__(self, arch: Arch) -> Cost:
        """The cost of a network, latency in milliseconds and throughput in images a second where there is a table."""
        if arch not in self._known:  # its id takes longer to make than its hash
            cost = count(arch, self.input_size) if self.cost_of is None else self.cost_of(arch)
            if self.table is not None:
                latency_ms = self.table.latency_ms(arch)
                cost = replace(cost, latency_ms=latency_ms, throughput=1000 * self.table.batch_size / latency_ms)
            self._known[arch] = cost
        return self._known[arch]


def prices_of(study: Study, input_size: Size, cost_of: Callable[[Arch], Cost]) -> Prices:
    """The exact costs of a study's networks, with latency if it has a table; the arguments are as of `Prices`."""
    table = study.folder / TABLE
    return Prices(input_size, LatencyTable.load(table) if table.is_file() else None, cost_of)


def check_table(
    objectives: Sequence[str], limits: Mapping[str, float], table: LatencyTable | None, space: Space
) -> None:
    """Refuses objectives and limits that need a latency table where there is none that knows every block of the space.

    Raises:
        UsageError: There is none; the message says what needs it.
        CostError: The message names the first block that is missing.
    """
    needing = [name for name in TIMED if name in objectives] + ["--max-latency-ms"] * ("latency_ms" in limits)
    if needing and table is None:
        raise UsageError(
            f"{needing[0]} is read from a table, never measured beside training; name one with --latency-table. "
            "`acmix latency --space SPACE --out FILE` makes it."
        )
    if table is None:
        return
    blocks = [(stage, block) for stage, depth in enumerate(space.depths) for block in range(depth)]
    for stage, block in blocks:
        for mixer in space.mixers(stage, block):
            if table.host != space.host or (stage, block, mixer) not in table.mixers_ms:
                raise CostError(
                    f"the latency table is one of {table.space} ({table.host}); it has no block {block} of stage "
                    f"{stage} with {mixer.to_dict()}, which {space.name} may have. Build it with `acmix latency "
                    f"--space {space.name} --out FILE`."
                )


def broken(limits: Mapping[str, float], cost: Cost) -> dict[str, float]:
    """Name -> value of every cost that is beyond its limit; such a network never becomes a trial.

    Args:
        limits: Name of a cost ("macs", "params", "latency_ms") -> its largest value.
        cost: What the network costs.
    """
    values = {name: getattr(cost, name) for name in limits}
    return {name: value for name, value in values.items() if value > limits[name]}


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


def amount(value: float) -> str:
    """A count in short: 4.52G, 28.3M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}" if math.isfinite(value) else str(value)
