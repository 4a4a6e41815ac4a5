"""Pruning rules on learning curves of really trained networks.

Run: python benchmarks/pruning.py [--seeds 100] [--data ../shared/nasbench]
--data has curves_metaqnn_cifar10.csv.gz (1,000 networks, 20 epochs) and curves_deep_resnets_tinyimagenet.csv.gz (684,
140 epochs): validation accuracy after each epoch (Baker 2017, accelerating_nas, MIT).

Networks come in random order. Shown is the regret in accuracy points, after as many epochs as 5, 10, 20 and 40 full
trainings take, of the best fully trained network; means and standard errors over seeds.
none     every network is trained to its end
median   stopped after an epoch in which it is below the median of those before it (five at least)
halving  the rule of acmix_nas.search.rungs: the best third of a rung goes on from where it stopped
"""

import argparse
import csv
import gzip
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from engine import means

from acmix_nas.search.rungs import leaders, rungs_of

BUDGETS = (5, 10, 20, 40)
FILES = ("curves_metaqnn_cifar10", "curves_deep_resnets_tinyimagenet")
STARTUP = 5
Step = tuple[int, int]
"""A network, and the epochs that it has now been trained for."""


def curves(path: Path) -> np.ndarray:
    """(N, E) accuracy in percent after each epoch, of the networks whose curve is whole."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("acc_")]
    return np.array([[100 * float(row[name]) for name in names] for row in rows if all(row[name] for name in names)])


def none(accuracy: np.ndarray, order: list[int]) -> Iterator[Step]:
    """Every network to its end."""
    for network in order:
        for epoch in range(1, accuracy.shape[1] + 1):
            yield network, epoch


def median(accuracy: np.ndarray, order: list[int]) -> Iterator[Step]:
    """Stopped below the median of what other networks had at that epoch."""
    seen: list[list[float]] = [[] for _ in range(accuracy.shape[1])]
    for network in order:
        for epoch, value in enumerate(accuracy[network], start=1):
            yield network, epoch
            others = seen[epoch - 1]
            below = len(others) >= STARTUP and value < np.median(others)
            others.append(value)
            if below:
                break


def halving(accuracy: np.ndarray, order: list[int]) -> Iterator[Step]:
    """Asynchronous successive halving: whoever may go up a rung goes up, else a new network begins."""
    stops = [*rungs_of(accuracy.shape[1]), accuracy.shape[1]]
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
        paused[level + 1][network] = (float(accuracy[network, stops[level + 1] - 1]),)


def regrets(rule: Callable[[np.ndarray, list[int]], Iterator[Step]], accuracy: np.ndarray, seed: int) -> list[float]:
    """Regret of a rule at each budget; until a network is fully trained, that of the one trained longest counts."""
    order = random.Random(seed).sample(range(len(accuracy)), len(accuracy))
    epochs, best = accuracy.shape[1], (0, -np.inf, 0)
    found: list[float] = []
    for spent, (network, epoch) in enumerate(rule(accuracy, order), start=1):
        best = max(best, (epoch, accuracy[network, epoch - 1], network))
        if spent == BUDGETS[len(found)] * epochs:
            found.append(float(accuracy[:, -1].max() - accuracy[best[2], -1]))
            if len(found) == len(BUDGETS):
                return found
    last = float(accuracy[:, -1].max() - accuracy[best[2], -1])  # all networks were tried before the budget was spent
    return [*found, *[last] * (len(BUDGETS) - len(found))]


def main() -> None:
    """Prints a line for each rule and set of curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--data", type=Path, default=Path("../shared/nasbench"))
    options = parser.parse_args()
    for file in FILES:
        accuracy = curves(options.data / f"{file}.csv.gz")
        print(f"\n{file}: {len(accuracy)} networks, regret after {BUDGETS} trainings' worth of epochs", flush=True)
        for rule in (none, median, halving):
            table = np.array([regrets(rule, accuracy, seed) for seed in range(options.seeds)])
            print(f"{rule.__name__:10} {means(table)}", flush=True)


if __name__ == "__main__":
    main()
