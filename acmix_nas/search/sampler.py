"""What to try next: a pure function of seed and history, so that a resumed search goes on as if never stopped."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from acmix_nas.arch import Arch
from acmix_nas.errors import UsageError
from acmix_nas.search.axes import axes_of_space, distribution, domain_of_space, values_of_row
from acmix_nas.search.distinct import DistinctSampler
from acmix_nas.search.gp import propose, stream
from acmix_nas.search.hamming_gp import Function, HammingGPSampler
from acmix_nas.search.history import Memory, task_of
from acmix_nas.space import Choice, Space, Value, Values

Direction: TypeAlias = Literal["maximize", "minimize"]

SAMPLERS = ("hamming-gp", "random", "tpe", "nsga2")
POPULATION = 20
"""Trials of a generation of NSGA-II: at a few hundred trials, small generations do better (docs/search.md)."""
GENERATION = "NSGAIISampler:generation"
"""System attribute in which Optuna's NSGA-II keeps a trial's generation."""
RANDOM_TRIES = 500


def make_sampler(
    name: str,
    seed: int | None = None,
    *,
    space: Space | None = None,
    costs: Mapping[int | str, Function] | None = None,
) -> BaseSampler:
    """A sampler for an Optuna study by its name; none proposes anything twice.

    Args:
        name: "hamming-gp" (see `HammingGPSampler`), or Optuna's "random", "tpe" (tree-structured Parzen estimator,
            Bergstra 2011) or "nsga2" (Deb 2002).
        seed: Seed; None draws one.
        space: The space whose choices the study's parameters are, if they are.
        costs: Objectives known before training, as in `HammingGPSampler`; the others have no use for them.

    Raises:
        UsageError: There is no sampler of this name.
    """
    if name == "hamming-gp":
        return HammingGPSampler(seed, space=space, costs=costs)
    if name not in SAMPLERS:
        raise UsageError(f"a sampler is one of {', '.join(SAMPLERS)}; it is {name!r}.")
    return DistinctSampler(partial(_inner, name), seed, space=space)


def draw(
    space: Space,
    *,
    seed: int,
    starts: int,
    history: Sequence[FrozenTrial],
    seen: Collection[str],
    directions: Sequence[Direction],
    sampler: str = "hamming-gp",
    costs: Mapping[int, Callable[[Arch], float]] | None = None,
    memory: Memory | None = None,
) -> tuple[str, Values] | None:
    """The next network to train, never one that was tried before.

    First come the space's own first networks, then random ones, then what the sampler proposes.

    Args:
        space: The space.
        seed: Seed of the study.
        starts: Number of random networks before the sampler.
        history: All trials so far, by number; the scores of a pruned one may stand in its record.
        seen: `Arch.id` of every network tried.
        directions: "maximize" or "minimize" for each objective.
        sampler: Name of the sampler.
        costs: Index of an objective -> its exact function, for those known before training.
        memory: Of this search; given again, it saves time and changes nothing.

    Returns:
        Where it came from and its values, or None when every network of the space was tried.
    """
    number = len(history)
    for label, values in space.first.items():
        if space.build(values).id not in seen:
            return label, values
    if number >= len(space.first) + starts:
        if sampler == "hamming-gp":
            proposed = _modelled(space, seed, _plain(history), directions, costs or {}, memory or Memory())
        else:
            proposed = _asked(space, sampler, seed, _plain(history), directions)
        if proposed is not None and space.build(proposed).id not in seen:
            return sampler, proposed
    values = _random(space, random.Random(f"{seed}/{number}/random"), seen)
    return None if values is None else ("random", values)


def encode(space: Space, values: Mapping[str, Value]) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Optuna's parameters and distributions: the option of a nominal choice, the index of an ordered one."""
    active = [choice for choice in space.choices if choice.name in values]
    params = {
        choice.name: choice.options.index(values[choice.name]) if choice.ordered else values[choice.name]
        for choice in active
    }
    return params, {choice.name: distribution(choice) for choice in active}


def decode(space: Space, params: Mapping[str, Any]) -> Values:
    """The inverse of `encode`."""
    return space.sample(lambda choice: _option(choice, params[choice.name]))


def _random(space: Space, chance: random.Random, seen: Collection[str]) -> Values | None:
    for _ in range(RANDOM_TRIES):
        values = space.sample(lambda choice: chance.choice(choice.options))
        if space.build(values).id not in seen:
            return values
    if len(seen) >= space.size:
        return None
    return next((values for values in space.completions({}) if space.build(values).id not in seen), None)


def _modelled(
    space: Space,
    seed: int,
    trials: Sequence[FrozenTrial],
    directions: Sequence[Direction],
    costs: Mapping[int, Callable[[Arch], float]],
    memory: Memory,
) -> Values | None:
    axes = axes_of_space(space)
    domain = domain_of_space(space, axes)
    rows = np.array([axes.row(trial.params) for trial in trials]).reshape(len(trials), len(axes.parameters))
    signs = [1 if direction == "maximize" else -1 for direction in directions]
    exact = {
        index: memory.once(f"cost {index}", lambda row, f=function: f(space.build(values_of_row(space, row))))
        for index, function in costs.items()
    }
    task = task_of(domain, trials, rows, signs, exact, {}, memory)
    row = propose(task, stream(seed, len(trials)))
    return None if row is None else values_of_row(space, domain.bare(row[None])[0])


def _asked(
    space: Space, sampler: str, seed: int, trials: Sequence[FrozenTrial], directions: Sequence[Direction]
) -> Values:
    """What a sampler of Optuna's proposes, in a study in memory."""
    study = optuna.create_study(sampler=make_sampler(sampler, seed, space=space), directions=list(directions))
    if len(directions) > 1:  # Optuna's samplers take no pruned trials there
        trials = [trial for trial in trials if trial.state != TrialState.PRUNED] + [
            _failed(trial) for trial in trials if trial.state == TrialState.PRUNED
        ]
    study.add_trials(trials)
    return space.sample(_suggest(study.ask()))


def _inner(name: str, seed: int) -> BaseSampler:
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def _plain(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials without what belongs to their storage, each with the scores of its record and its generation."""
    complete = 0
    plain = []
    for trial in trials:
        record = trial.user_attrs.get("record") or {}
        scores = dict(enumerate(record.get("scores", ())))
        plain.append(
            create_trial(
                state=trial.state,
                values=trial.values,
                params=trial.params,
                distributions=trial.distributions,
                intermediate_values=trial.intermediate_values or scores,
                system_attrs={GENERATION: complete // POPULATION},
            )
        )
        complete += trial.state == TrialState.COMPLETE
    return plain


def _failed(trial: FrozenTrial) -> FrozenTrial:
    return create_trial(state=TrialState.FAIL, params=trial.params, distributions=trial.distributions)


def _suggest(trial: optuna.Trial) -> Callable[[Choice], Value]:
    def choose(choice: Choice) -> Value:
        if choice.ordered:
            return _option(choice, trial.suggest_int(choice.name, 0, len(choice.options) - 1))
        return _option(choice, trial.suggest_categorical(choice.name, choice.options))

    return choose


def _option(choice: Choice, param: Any) -> Value:
    option: Value = choice.options[param] if choice.ordered else param
    return option
