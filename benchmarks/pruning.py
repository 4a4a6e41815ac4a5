"""Pruning rules on learning curves of really trained networks.

Run: python benchmarks/pruning.py [--seeds 100] [--data ../shared/nasbench]
--data has curves_metaqnn_cifar10.csv.gz (1,000 networks, 20 epochs) and curves_deep_resnets_tinyimagenet.csv.gz (684,
140 epochs): validation accuracy after each epoch (Baker 2017, accelerating_nas, MIT).

Networks come in random order. Shown are, after as many epochs as 5, 10, 20 and 40 full trainings take, means and
standard errors over seeds of two figures: the regret in accuracy points of the best fully trained network; and, with
size as a second objective, the part of the true front's hypervolume that fully trained networks have. Size is the
logarithm of num_params, or, where the table has none, of num_blocks * num_filters ** 2 * filter_size ** 2.
none     every network is trained to its end
median   stopped after an epoch in which it is below the median of those before it (five at least)
halving  the rule of acmix_nas.search.rungs: the best third of a rung goes on from where it stopped
fronts   the same with both objectives
"""

import argparse
import csv
import gzip
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from engine import means

from acmix_nas.front import hypervolume
from acmix_nas.search.rungs import MARGIN, leaders, rungs_of

BUDGETS = (5, 10, 20, 40)
FILES = ("curves_metaqnn_cifar10", "curves_deep_resnets_tinyimagenet")
STARTUP = 5
Step = tuple[int, int]
"""A network, and the epochs that it has now been trained for."""
Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Curves:
    """Really trained networks.

    Attributes:
        accuracy: (N, E) in percent after each epoch.
        smallness: (N,) minus the logarithm of the size.
    """

    accuracy: Array
    smallness: Array

    def at(self, network: int, epoch: int) -> tuple[float, float]:
        """The objectives, more being better, after an epoch."""
        return float(self.accuracy[network, epoch - 1]), float(self.smallness[network])


def curves(path: Path) -> Curves:
    """The networks whose curve is whole."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("acc_")]
    rows = [row for row in rows if all(row[name] for name in names)]
    accuracy = np.array([[100 * float(row[name]) for name in names] for row in rows])
    return Curves(accuracy, np.array([-math.log(size(row)) for row in rows]))


def size(row: dict[str, str]) -> float:
    """Parameters, or what they grow with."""
    if "num_params" in row:
        return float(row["num_params"])
    return float(row["num_blocks"]) * (float(row["num_filters"]) * float(row["filter_size"])) ** 2


Rule: TypeAlias = Callable[[Curves, list[int]], Iterator[Step]]


def none(table: Curves, order: list[int]) -> Iterator[Step]:
    """Every network to its end."""
    for network in order:
        for epoch in range(1, table.accuracy.shape[1] + 1):
            yield network, epoch


def median(table: Curves, order: list[int]) -> Iterator[Step]:
    """Stopped below the median of what other networks had at that epoch."""
    seen: list[list[float]] = [[] for _ in range(table.accuracy.shape[1])]
    for network in order:
        for epoch, value in enumerate(table.accuracy[network], start=1):
            yield network, epoch
            others = seen[epoch - 1]
            below = len(others) >= STARTUP and value < np.median(others)
            others.append(value)
            if below:
                break


def halving(table: Curves, order: list[int], objectives: int = 1) -> Iterator[Step]:
    """Asynchronous successive halving: whoever may go up a rung goes up, else a new network begins."""
    epochs = table.accuracy.shape[1]
    stops = [*rungs_of(epochs), epochs]
    paused: list[dict[int, tuple[float, ...]]] = [{} for _ in stops]
    gone_on: list[set[int]] = [set() for _ in stops]
    waiting = iter(order)
    while True:
        for level in reversed(range(len(stops) - 1)):
            free = [network for network in leaders(paused[level]) if network not in gone_on[level]]
            if free:
                network, done = free[0], stops[level]
                gone_on[level].add(network)
                break
        else:
            level, done = -1, 0
            network = next(waiting, -1)
            if network < 0:
                return
        for epoch in range(done + 1, stops[level + 1] + 1):
            yield network, epoch
        paused[level + 1][network] = table.at(network, stops[level + 1])[:objectives]


def fronts(table: Curves, order: list[int]) -> Iterator[Step]:
    """`halving` by accuracy and size."""
    return halving(table, order, objectives=2)


def play(rule: Rule, table: Curves, seed: int) -> list[list[float]]:
    """Regret and part of the front at each budget; until a network is fully trained, the longest trained counts."""
    order = random.Random(seed).sample(range(len(table.accuracy)), len(table.accuracy))
    epochs, whole = table.accuracy.shape[1], covered(table, range(len(table.accuracy)))
    best, complete, found = (0, -np.inf, 0), list[int](), list[list[float]]()
    for spent, (network, epoch) in enumerate(rule(table, order), start=1):
        best = max(best, (epoch, table.accuracy[network, epoch - 1], network))
        complete += [network] if epoch == epochs else []
        if spent == BUDGETS[len(found)] * epochs:
            found.append([regret(table, best[2]), covered(table, complete) / whole])
            if len(found) == len(BUDGETS):
                return found
    last = [regret(table, best[2]), covered(table, complete) / whole]  # all were tried before the budget was spent
    return [*found, *[last] * (len(BUDGETS) - len(found))]


def regret(table: Curves, network: int) -> float:
    """Accuracy points that it lacks to the best."""
    return float(table.accuracy[:, -1].max() - table.accuracy[network, -1])


def covered(table: Curves, networks: Sequence[int]) -> float:
    """Hypervolume of fully trained networks, both objectives scaled to the table's range."""
    both = np.stack([table.accuracy[:, -1], table.smallness], 1)
    scaled = (both - both.min(0)) / np.ptp(both, 0)
    return hypervolume([(float(first), float(second)) for first, second in scaled[list(networks)]], -MARGIN)


def main() -> None:
    """Prints a line for each rule and set of curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--data", type=Path, default=Path("../shared/nasbench"))
    options = parser.parse_args()
    for file in FILES:
        table = curves(options.data / f"{file}.csv.gz")
        print(f"\n{file}: {len(table.accuracy)} networks after {BUDGETS} trainings' worth of epochs", flush=True)
        for rule in RULES:
            played = np.array([play(rule, table, seed) for seed in range(options.seeds)])
            print(f"{rule.__name__:8} regret {means(played[..., 0])}", flush=True)
            print(f"{'':8} front  {means(played[..., 1])}", flush=True)


RULES: tuple[Rule, ...] = (none, median, halving, fronts)


if __name__ == "__main__":
    main()
