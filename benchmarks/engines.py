"""Search engines for benchmarks/engine.py: each returns the networks it tries, in order and each once.

All but one begin with the same random networks. What an engine repeats costs it nothing: distinct networks are counted.
"""

import random
import warnings
from collections import deque
from collections.abc import Callable, Iterator

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import create_trial
from tables import Key, Table

from acmix_nas.search import HammingGPSampler
from acmix_nas.search.starts import POOL, best_by_scores, count_chosen

STARTS = 10
HAMMING = "Hamming GP"
SCORED = "Hamming GP, half of its starts by scores"
EVOLUTION = "evolution"
LIVING, RIVALS = 25, 5
"""Of regularised evolution: networks that are alive, and those of which the best has a child."""
ASKED = 3
"""Asks for each distinct network at most; then random networks fill up what is missing."""

Engine = Callable[[Table, int, int, bool], list[int]]


def starts(table: Table, seed: int) -> list[int]:
    """The random networks that every engine of this seed begins with."""
    return random.Random(f"{seed}/starts").sample(range(len(table.keys)), STARTS)


def scored_starts(table: Table, seed: int) -> list[int]:
    """Half of them chosen from many random networks by the mean rank of all scores of the table, larger is better."""
    chance = random.Random(f"{seed}/pool")
    pool = chance.sample(range(len(table.keys)), POOL)
    scores = [{name: float(column[index]) for name, column in table.scores.items()} for index in pool]
    best = best_by_scores(scores, dict.fromkeys(table.scores, 1), count_chosen(STARTS))
    chosen = dict.fromkeys(pool[place] for place in best)
    return list(dict.fromkeys([*chosen, *starts(table, seed)]))[:STARTS]


def sampled(
    make: Callable[[Table, int, bool], BaseSampler],
    begin: Callable[[Table, int], list[int]] = starts,
    lag: int = 1,
) -> Engine:
    """An Optuna sampler as an engine; at trial n it knows the results of those up to n - lag, the others run."""

    def run(table: Table, seed: int, trials: int, front: bool) -> list[int]:
        directions = ["maximize", "minimize"] if front else ["maximize"]
        study = optuna.create_study(directions=directions, sampler=make(table, seed, front))
        observed = table.observed(seed)

        def results(index: int) -> list[float]:
            return [float(observed[index]), float(table.costs[index])][: len(directions)]

        tried = dict.fromkeys(begin(table, seed))
        for index in tried:
            study.add_trial(
                create_trial(values=results(index), params=table.params(index), distributions=table.distributions)
            )
        running = deque[tuple[optuna.Trial, int]]()
        for _ in range(ASKED * trials):
            if len(tried) >= trials:
                break
            trial = study.ask()
            running.append((trial, table.suggest(trial)))
            tried[running[-1][1]] = None
            if len(running) >= lag:
                ended, index = running.popleft()
                study.tell(ended, results(index))
        return _filled(table, seed, list(tried), trials)

    return run


def evolution(table: Table, seed: int, trials: int, front: bool) -> list[int]:
    """Regularised evolution (Real 2019): of the living networks the best of a few has a child, and the oldest dies."""
    chance, observed = random.Random(f"{seed}/evolution"), table.observed(seed)
    tried = dict.fromkeys(starts(table, seed))
    while len(tried) < LIVING:
        tried[chance.randrange(len(table.keys))] = None
    living = deque(tried, maxlen=LIVING)
    for _ in range(ASKED * trials):
        if len(tried) >= trials:
            break
        parent = max(chance.sample(list(living), RIVALS), key=lambda index: observed[index])
        child = table.index[_mutated(table, table.keys[parent], chance)]
        living.append(child)
        tried[child] = None
    return _filled(table, seed, list(tried), trials)


def enqueue_child(study: optuna.Study, chance: random.Random) -> None:
    """The same, of a study of any space: the next trial is a child, whose newly active choices its sampler draws."""
    living = study.trials[-LIVING:]
    if len(living) < LIVING:
        return
    parent = max(chance.sample(living, RIVALS), key=lambda trial: trial.value or 0.0)
    name = chance.choice(sorted(parent.params))
    one = parent.distributions[name]
    options = one.choices if isinstance(one, CategoricalDistribution) else range(one.low, one.high + 1)
    others = [option for option in options if option != parent.params[name]]
    study.enqueue_trial({**parent.params, name: chance.choice(others)})


def local(table: Table, seed: int, trials: int, front: bool) -> list[int]:
    """Local search (White 2021): all neighbours of the best, from a random network anew when none is better."""
    chance, observed = random.Random(f"{seed}/local"), table.observed(seed)
    tried = dict.fromkeys(starts(table, seed))
    here = max(tried, key=lambda index: observed[index])
    while len(tried) < trials:
        around = [table.index[key] for key in _neighbours(table, table.keys[here])]
        chance.shuffle(around)
        better = next((index for index in _noted(around, tried) if observed[index] > observed[here]), None)
        here = chance.randrange(len(table.keys)) if better is None else better
        tried[here] = None
    return list(tried)[:trials]


ENGINES: dict[str, Engine] = {
    "random": sampled(lambda table, seed, front: RandomSampler(seed=seed)),
    "NSGA-II": sampled(lambda table, seed, front: NSGAIISampler(population_size=20, seed=seed)),
    "TPE": sampled(lambda table, seed, front: TPESampler(seed=seed)),
    EVOLUTION: evolution,
    "local search": local,
    HAMMING: sampled(lambda table, seed, front: _hamming(table, seed, front)),
    SCORED: sampled(lambda table, seed, front: _hamming(table, seed, front), scored_starts),
    **{
        f"{HAMMING}, lag {lag}": sampled(lambda table, seed, front: _hamming(table, seed, front), lag=lag)
        for lag in (2, 8, 16, 64)
    },
}
FRONT_ENGINES = ("random", "NSGA-II", "TPE", HAMMING, SCORED)


def _hamming(table: Table, seed: int, front: bool) -> BaseSampler:
    costs = {1: lambda params: float(table.costs[table.index[table.key(params)]])} if front else None
    return HammingGPSampler(seed, costs=costs)


def _noted(indices: list[int], tried: dict[int, None]) -> Iterator[int]:
    for index in indices:
        tried[index] = None
        yield index


def _neighbours(table: Table, key: Key) -> list[Key]:
    options = [range(len(getattr(one, "choices", range(3)))) for one in table.distributions.values()]
    return [
        (*key[:place], option, *key[place + 1 :])
        for place, choice in enumerate(options)
        for option in choice
        if option != key[place]
    ]


def _mutated(table: Table, key: Key, chance: random.Random) -> Key:
    return chance.choice(_neighbours(table, key))


def _filled(table: Table, seed: int, tried: list[int], trials: int) -> list[int]:
    rest = random.Random(f"{seed}/rest")
    known = dict.fromkeys(tried)
    while len(known) < trials:
        known[rest.randrange(len(table.keys))] = None
    return list(known)[:trials]


def quiet() -> None:
    """Optuna says nothing of single trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
