"""What to try next: a pure function of seed and history, so that a resumed search goes on as if never stopped."""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from acmix_nas.space import Choice, Space, Value, Values

Direction: TypeAlias = Literal["maximize", "minimize"]

TPE_TRIES = 20
RANDOM_TRIES = 500


def draw(
    space: Space,
    *,
    seed: int,
    starts: int,
    history: Sequence[FrozenTrial],
    seen: Collection[str],
    directions: Sequence[Direction],
) -> tuple[str, Values] | None:
    """The next network to train, never one that was tried before.

    First come the space's own first networks, then random ones, then the tree-structured Parzen estimator of Optuna
    (Bergstra 2011) over the objectives, asked again when it repeats itself.

    Args:
        space: The space.
        seed: Seed of the study.
        starts: Number of random networks before the estimator.
        history: All trials so far, by number.
        seen: `Arch.id` of every network tried.
        directions: "maximize" or "minimize" for each objective.

    Returns:
        Where it came from and its values, or None when every network of the space was tried.
    """
    number = len(history)
    for label, values in space.first.items():
        if space.build(values).id not in seen:
            return label, values
    if number >= len(space.first) + starts:
        for values in _tpe_proposals(space, f"{seed}/{number}/tpe", history, directions):
            if space.build(values).id not in seen:
                return "tpe", values
    chance = random.Random(f"{seed}/{number}/random")
    for _ in range(RANDOM_TRIES):
        values = space.sample(lambda choice: chance.choice(choice.options))
        if space.build(values).id not in seen:
            return "random", values
    if len(seen) >= space.size:
        return None
    return next((("random", values) for values in space.completions({}) if space.build(values).id not in seen), None)


def encode(space: Space, values: Mapping[str, Value]) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Optuna's parameters and distributions: the option of a nominal choice, the index of an ordered one."""
    active = [choice for choice in space.choices if choice.name in values]
    params = {
        choice.name: choice.options.index(values[choice.name]) if choice.ordered else values[choice.name]
        for choice in active
    }
    return params, {choice.name: _distribution(choice) for choice in active}


def decode(space: Space, params: Mapping[str, Any]) -> Values:
    """The inverse of `encode`."""
    return space.sample(lambda choice: _option(choice, params[choice.name]))


def _tpe_proposals(
    space: Space, seed: str, history: Sequence[FrozenTrial], directions: Sequence[Direction]
) -> Iterator[Values]:
    """What the estimator proposes, in a study in memory; what it proposed before counts there as running."""
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=0, multivariate=False, constant_liar=True, seed=random.Random(seed).getrandbits(32)
    )
    study = optuna.create_study(sampler=sampler, directions=list(directions))
    study.add_trials([_bare(trial) for trial in history if trial.state.is_finished()])
    for _ in range(TPE_TRIES):
        yield space.sample(_suggest(study.ask()))


def _bare(trial: FrozenTrial) -> FrozenTrial:
    return create_trial(state=trial.state, values=trial.values, params=trial.params, distributions=trial.distributions)


def _suggest(trial: optuna.Trial) -> Callable[[Choice], Value]:
    def choose(choice: Choice) -> Value:
        if choice.ordered:
            return _option(choice, trial.suggest_int(choice.name, 0, len(choice.options) - 1))
        return _option(choice, trial.suggest_categorical(choice.name, choice.options))

    return choose


def _distribution(choice: Choice) -> BaseDistribution:
    return IntDistribution(0, len(choice.options) - 1) if choice.ordered else CategoricalDistribution(choice.options)


def _option(choice: Choice, param: Any) -> Value:
    option: Value = choice.options[param] if choice.ordered else param
    return option
