"""What a search may optimise and what it must keep to: exact costs and limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from acmix_nas.arch import Arch
from acmix_nas.cost import count
from acmix_nas.cost.latency import LatencyTable
from acmix_nas.errors import CostError, UsageError
from acmix_nas.metrics import COSTS, TIMED, TOP1, Metric
from acmix_nas.record import Cost
from acmix_nas.sizes import Size
from acmix_nas.space import Space


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
    """

    input_size: Size
    table: LatencyTable | None = None
    _known: dict[Arch, Cost] = field(default_factory=dict, repr=False)

    def __call__(self, arch: Arch) -> Cost:
        """The cost of a network, latency in milliseconds and throughput in images a second where there is a table."""
        if arch not in self._known:  # its id takes longer to make than its hash
            self._known[arch] = self._price(arch)
        return self._known[arch]

    def _price(self, arch: Arch) -> Cost:
        cost = count(arch, self.input_size)
        if self.table is None:
            return cost
        latency_ms = self.table.latency_ms(arch)
        return replace(cost, latency_ms=latency_ms, throughput=1000 * self.table.batch_size / latency_ms)


def check_table(objectives: Sequence[str], limits: Mapping[str, float], table: LatencyTable | None) -> None:
    """Refuses objectives and limits that need a latency table where there is none.

    Raises:
        UsageError: The message says what needs it.
    """
    needing = [name for name in TIMED if name in objectives] + ["--max-latency-ms"] * ("latency_ms" in limits)
    if needing and table is None:
        raise UsageError(
            f"{needing[0]} is read from a table, never measured beside training; name one with --latency-table. "
            "`acmix latency --space SPACE --out FILE` makes it."
        )


def check_covers(table: LatencyTable, space: Space) -> None:
    """Refuses a latency table that does not know every block of a space.

    Raises:
        CostError: The message names the first block that is missing.
    """
    blocks = [(stage, block) for stage, depth in enumerate(space.depths) for block in range(depth)]
    for stage, block in blocks:
        for mixer in space.mixers(stage, block):
            if table.host != space.host or (stage, block, mixer) not in table.mixers_ms:
                raise CostError(
                    f"the latency table is one of {table.space} ({table.host}); it has no block {block} of stage "
                    f"{stage} with {mixer.to_dict()}, which {space.name} may have. Build it with `acmix latency "
                    f"--space {space.name} --out FILE`."
                )


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest costs that a network may have; a network beyond them never becomes a trial.

    Args:
        most: Name of a cost ("macs", "params", "latency_ms") -> its largest value.
    """

    most: Mapping[str, float] = field(default_factory=dict)

    def broken(self, cost: Cost) -> dict[str, float]:
        """Name -> value of every cost that is too large."""
        values = {name: getattr(cost, name) for name in self.most}
        return {name: value for name, value in values.items() if value > self.most[name]}


def amount(value: float) -> str:
    """A count in short: 4.52G, 28.3M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}" if math.isfinite(value) else str(value)
