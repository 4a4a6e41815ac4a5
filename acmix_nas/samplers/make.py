"""Makes samplers by name, and draws a search's next network as a pure function of its seed and history."""

import inspect
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acmix_nas import plugins
from acmix_nas.arch import Arch
from acmix_nas.errors import UsageError
from acmix_nas.samplers.base import ProposingSampler, StudyState
from acmix_nas.samplers.distributions import columns_of_space, distribution, search_space_of, values_of_row
from acmix_nas.samplers.gp import draw_unseen, generator, propose
from acmix_nas.samplers.gp.search_space import Array, repeats
from acmix_nas.samplers.hamming_gp import HammingGPSampler
from acmix_nas.samplers.observations import Cache, Function, copied_trial, problem_of
from acmix_nas.space import Choice, Space, Value, Values

Direction: TypeAlias = Literal["maximize", "minimize"]

SAMPLERS = ("hamming-gp", "random", "tpe", "nsga2")
POPULATION = 20
"""Trials of a generation of NSGA-II: at a few hundred trials, small generations do better (docs/search.md)."""
GENERATION = "NSGAIISampler:generation"
"""System attribute of a trial in which Optuna's NSGA-II keeps its generation."""
RANDOM_TRIES = 500
ASKS = 20
"""Proposals asked of one of Optuna's samplers, at most, until one is new or within the limits."""
MAX_LISTED = 10_000
"""Networks of the largest space that is listed to find one within the limits."""


def make_sampler(
    name: str,
    seed: int | None = None,
    *,
    space: Space | None = None,
    costs: Mapping[int | str, Function] | None = None,
) -> BaseSampler:
    """A sampler of an Optuna study by its name; none repeats a trial before everything was tried.

    Args:
        name: "hamming-gp" (see `HammingGPSampler`), or Optuna's "random", "tpe" (tree-structured Parzen estimator,
            Bergstra 2011) or "nsga2" (Deb 2002), or the dotted path of a class of the user's own, as
            "my_lab.samplers:Mine": an `optuna.samplers.BaseSampler` whose constructor takes `seed`.
        seed: Seed; None draws one.
        space: The space whose choices the study's parameters are, if they are.
        costs: Objectives known before training, as in `HammingGPSampler`; the others do not use them.

    Raises:
        UsageError: As `check_sampler`.
        PluginError: As `check_sampler`.
    """
    if name == "hamming-gp":
        return HammingGPSampler(seed, space=space, costs=costs)
    check_sampler(name)
    return DistinctSampler(partial(_inner, name), seed, space=space)


class DistinctSampler(ProposingSampler):
    """Asks an inner sampler again when it repeats a trial, and draws at random when it goes on repeating.

    Once everything was tried it warns, and takes the inner sampler's proposals as they are.

    The inner sampler is made anew for each trial and seeded by the trial's number, so a resumed study continues as if
    it had never stopped. The inner sampler must keep its state in the study.

    Args:
        make: Seed -> the inner sampler.
        seed: Seed; None draws one.
        space: The space whose choices the study's parameters are, if they are.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int | None = None, *, space: Space | None = None):
        super().__init__(seed, space)
        self._make = make

    def _propose(self, study: Study, trial: FrozenTrial, current: StudyState, *, allow_repeats: bool) -> Array | None:
        rng = generator(self._seed, trial.number)
        inner = self._make(int(rng.integers(2**31)))
        inner.before_trial(study, trial)
        for _ in range(ASKS):
            row = self._ask(inner, study, trial, current)
            if allow_repeats or not repeats(row[None], current.seen)[0]:
                return row
        return draw_unseen(current.search_space, current.seen, rng)

    def _ask(self, inner: BaseSampler, study: Study, trial: FrozenTrial, current: StudyState) -> Array:
        params = inner.sample_relative(study, trial, inner.infer_relative_search_space(study, trial))
        for name, one in current.columns.distributions.items():
            if name not in params:
                params[name] = inner.sample_independent(study, trial, name, one)
        row = current.columns.row(params)
        return np.where(np.isnan(current.search_space.fixed), row, current.search_space.fixed)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Passes the finished trial to the inner sampler."""
        self._make(0).after_trial(study, trial, state, values)


def check_sampler(name: str) -> None:
    """Sees that a sampler can be made by its name.

    Raises:
        UsageError: There is no sampler of this name, or the user's own is no sampler or takes no seed.
        PluginError: The user's module may not or cannot be imported (`acmix_nas.plugins`), or has no such class.
    """
    if ":" in name:
        _own(name)
    elif name not in SAMPLERS:
        raise UsageError(
            f"a sampler is one of {', '.join(SAMPLERS)}, or a class of your own by its dotted path, as "
            f"my_lab.samplers:Mine; it is {name!r}."
        )


def draw(
    space: Space,
    *,
    seed: int,
    starts: int,
    scored: Sequence[Values] = (),
    history: Sequence[FrozenTrial],
    seen: Collection[str],
    directions: Sequence[Direction],
    sampler: str = "hamming-gp",
    costs: Mapping[int, Callable[[Arch], float]] | None = None,
    limits: Mapping[str, Callable[[Arch], float]] | None = None,
    cache: Cache | None = None,
) -> tuple[str, Values] | None:
    """The next network to train: one within the limits that was not tried before.

    First come the space's own first networks, then those that scores prefer, then random ones, then proposals of the
    sampler.

    Args:
        space: The space.
        seed: Seed of the study.
        starts: Number of random networks before the sampler, with those of `scored`.
        scored: Networks that were chosen by scores that need no training.
        history: All trials so far, by number; the scores of a pruned one may be in its record.
        seen: `Arch.id` of every network tried.
        directions: "maximize" or "minimize" for each objective.
        sampler: Name of the sampler.
        costs: Index of an objective -> its exact function, for those known before training.
        limits: Name of a limit -> exact function, at most 0 for a network that may be trained.
        cache: Of this search; passed to every call it saves time, and changes nothing.

    Returns:
        Its origin (the name of a first network, "scored", "random" or the sampler) and its values. None if every
        network of the space was tried or, with limits in a space too large to be listed, none was found.
    """
    number = len(history)
    limits = limits or {}

    def fits(values: Values) -> bool:
        arch = space.build(values)
        return arch.id not in seen and all(excess(arch) <= 0 for excess in limits.values())

    for label, values in [*space.first.items(), *(("scored", values) for values in scored)]:
        if fits(values):
            return label, values
    if number >= len(space.first) + starts:
        trials = _plain(history)
        if sampler == "hamming-gp":
            found = _proposed_by_gp(space, seed, trials, directions, costs or {}, limits, cache or Cache())
        else:
            found = _proposed_by_optuna(space, sampler, seed, trials, directions, tries=ASKS if limits else 1)
        proposed = next((values for values in found if fits(values)), None)
        if proposed is not None:
            return sampler, proposed
    rng = random.Random(f"{seed}/{number}/random")
    for _ in range(RANDOM_TRIES):
        values = space.sample(lambda choice: rng.choice(choice.options))
        if fits(values):
            return "random", values
    if len(seen) >= space.size or (limits and space.size > MAX_LISTED):
        return None
    return next((("random", values) for values in space.completions({}) if fits(values)), None)


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


def _proposed_by_gp(
    space: Space,
    seed: int,
    trials: Sequence[FrozenTrial],
    directions: Sequence[Direction],
    costs: Mapping[int, Callable[[Arch], float]],
    limits: Mapping[str, Callable[[Arch], float]],
    cache: Cache,
) -> Iterator[Values]:
    columns = columns_of_space(space)
    search_space = search_space_of(space, columns)
    width = len(columns.parameters)
    rows = np.array([cache.row(trial.params, columns.row) for trial in trials]).reshape(len(trials), width)
    signs = [1 if direction == "maximize" else -1 for direction in directions]

    def read(row: Array) -> Arch:
        return space.build(values_of_row(space, row))

    problem = problem_of(search_space, trials, rows, signs, costs, limits, cache, read)
    row = propose(problem, np.random.default_rng([seed, len(trials)]))
    if row is not None:
        yield values_of_row(space, search_space.bare(row[None])[0])


def _proposed_by_optuna(
    space: Space, sampler: str, seed: int, trials: Sequence[FrozenTrial], directions: Sequence[Direction], *, tries: int
) -> Iterator[Values]:
    """Proposals of an Optuna sampler for a study in memory."""
    study = optuna.create_study(sampler=make_sampler(sampler, seed, space=space), directions=list(directions))
    if len(directions) > 1:  # Optuna's samplers take no pruned trials of several objectives
        trials = [trial for trial in trials if trial.state != TrialState.PRUNED] + [
            copied_trial(trial, TrialState.FAIL, None) for trial in trials if trial.state == TrialState.PRUNED
        ]
    study.add_trials(trials)
    for _ in range(tries):
        with warnings.catch_warnings():  # a search repeats nothing: it ends, and says so
            warnings.filterwarnings("ignore", message=".*everything was tried", category=UserWarning)
            values = space.sample(_suggest(study.ask()))
        yield values


def _own(path: str) -> type[BaseSampler]:
    found = plugins.load_value(path, type)
    if not issubclass(found, BaseSampler):
        raise UsageError(f"{path} is no optuna.samplers.BaseSampler; derive it from one.")
    if "seed" not in inspect.signature(found).parameters:
        raise UsageError(f"{path} takes no seed, so no search with it would repeat; give its constructor one.")
    return found


def _inner(name: str, seed: int) -> BaseSampler:
    if ":" in name:
        made: BaseSampler = _own(name)(seed=seed)  # type: ignore[call-arg]
        return made
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def _plain(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials without the attributes of their storage, each with its record's scores and its generation."""
    complete = 0
    plain = []
    for trial in trials:
        record = trial.user_attrs.get("record") or {}
        scores = dict(enumerate(record.get("scores", ())))
        reached = trial.intermediate_values or scores
        system = {GENERATION: complete // POPULATION}
        plain.append(copied_trial(trial, trial.state, trial.values, intermediate=reached, system=system))
        complete += trial.state == TrialState.COMPLETE
    return plain


def _suggest(trial: optuna.Trial) -> Callable[[Choice], Value]:
    def choose(choice: Choice) -> Value:
        if choice.ordered:
            return _option(choice, trial.suggest_int(choice.name, 0, len(choice.options) - 1))
        return _option(choice, trial.suggest_categorical(choice.name, choice.options))

    return choose


def _option(choice: Choice, param: Any) -> Value:
    option: Value = choice.options[param] if choice.ordered else param
    return option
