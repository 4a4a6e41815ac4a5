"""Which choices of a search matter: Optuna's importance, and shares of a score's variance."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from acmix_nas.metrics import Direction
from acmix_nas.samplers.distributions import Columns, columns_of_space, search_space_of
from acmix_nas.samplers.gp import SearchSpace
from acmix_nas.samplers.gp.gaussian_process import Posterior, fit
from acmix_nas.samplers.gp.kernel import Features
from acmix_nas.samplers.gp.search_space import Array, Indices
from acmix_nas.samplers.make import encode
from acmix_nas.space import Space, Values

optuna.logging.set_verbosity(optuna.logging.WARNING)

BEST_SHARE = 0.1
BEST_LEAST = 5
"""Trials that are compared with all: the best tenth, and no fewer than Optuna advises."""


def ped_anova(
    space: Space, trials: Sequence[tuple[Values, float]], direction: Direction = "maximize"
) -> dict[str, float]:
    """Choice -> its share of all importance for the score by Optuna's default; empty if no choice has one.

    PED-ANOVA (Watanabe et al. 2023) for conditional parameters (condPED-ANOVA, 2026): the Pearson divergence of a
    choice's options among the best trials from those among all. A choice is judged within the trials in which it is
    active, weighted by how many of the best those are. So a child of another choice can take nearly all, and
    leave little to the one that decides: `shares` gives each its due.

    Args:
        space: The space.
        trials: Values of the active choices, and score, of each trial.
        direction: Of the score.
    """
    study = optuna.create_study(direction=direction)
    for values, score in trials:
        params, distributions = encode(space, values)
        study.add_trial(create_trial(params=params, distributions=distributions, value=score))
    best = max(BEST_SHARE, BEST_LEAST / len(trials))
    with warnings.catch_warnings():  # a choice that is rarely active: its row has the number of its trials
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=best)
        shares = get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()} if total > 0 else {}


FITTED, MODELLED = 200, 300
"""At most this many trials, evenly spread over the study, decide the model's hyperparameters, and the model."""
WALKS = 4096
"""Walks from one random network to another that the shares are means over."""
ROWS = 8192
"""Rows that are modelled at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Shares of the variance of a score over a space.

    Attributes:
        own: Choice -> its Shapley share, largest first; they sum to 1.
        subtree: Choice -> the sum of its share and those of all its children.
        explained: How much of the trials' variance the model that they are computed on predicts when each trial in
            turn is left out, at most 1; near 0 the shares say nothing.
    """

    own: Mapping[str, float]
    subtree: Mapping[str, float]
    explained: float


def shares(space: Space, trials: Sequence[tuple[Values, float]]) -> Shares | None:
    """The Shapley share of each choice in the variance of a score (Owen 2014; Song, Nelson and Staum 2016).

    Over networks drawn evenly from the space, with the levels of choices that are not active drawn too and without
    effect, choices are independent, and the variance of a score is a sum over sets of them (functional ANOVA). A
    choice's share is its own part and an even part of each interaction that it takes part in. What a parent decides by
    itself, such as whether a network convolves at all, is its own part: a child, whose levels have no effect then,
    cannot take it. Scores are those of a Gaussian process that was fitted to the trials.

    Args:
        space: The space.
        trials: Values of the active choices, and score, of each trial.

    Returns:
        The shares; None where the scores, or the model's, have no variance.
    """
    columns = columns_of_space(space)
    search_space = search_space_of(space, columns)
    score, explained = _model(space, columns, search_space, trials)
    parts = shapley(search_space, score, np.random.default_rng(0)) if explained is not None else np.zeros(0)
    if explained is None or not parts.sum() > 0:
        return None
    parts = np.maximum(parts, 0.0) / np.maximum(parts, 0.0).sum()
    found = {choice.name: float(part) for choice, part in zip(space.choices, parts, strict=True)}
    own = {name: found[name] for name in sorted(found, key=lambda name: -found[name])}
    subtree = {name: sum(found[inner] for inner in hanging(space, name)) for name in own}
    return Shares(own=own, subtree=subtree, explained=explained)


def hanging(space: Space, name: str) -> tuple[str, ...]:
    """The choice and all its children, directly or not."""
    found = {name}
    for choice in space.choices:  # parents come before their children
        if found & set(choice.when):
            found.add(choice.name)
    return tuple(choice.name for choice in space.choices if choice.name in found)


def shapley(
    search_space: SearchSpace, score: Callable[[Array], Array], rng: np.random.Generator, walks: int = WALKS
) -> Array:
    """(D,) part of each parameter in the variance of a score over a search space's rows, estimated without bias.

    Each walk goes from one random row to another, one parameter at a time, in random order; a parameter's part is the
    mean of (score at the start - score midway of its step) times (score before its step - score after) (Goda 2021,
    algorithm 1).

    Args:
        search_space: The rows, their parameters drawn independently.
        score: Bare rows (C, D) -> (C,) their scores.
        rng: Draws rows and orders.
        walks: How many walks.
    """
    width = len(search_space.parameters)
    start, end = search_space.draw(rng, walks), search_space.draw(rng, walks)
    orders: Indices = np.argsort(rng.random((walks, width)), axis=1)
    first = before = score(search_space.bare(start))
    rows, parts, each = start.copy(), np.zeros(width), np.arange(walks)
    for step in orders.T:
        rows[each, step] = end[each, step]
        after = score(search_space.bare(rows))
        np.add.at(parts, step, (first - (before + after) / 2.0) * (before - after))
        before = after
    return parts / walks


def _model(
    space: Space, columns: Columns, search_space: SearchSpace, trials: Sequence[tuple[Values, float]]
) -> tuple[Callable[[Array], Array], float | None]:
    """Bare rows -> modelled scores, in standard units, and what leaving each trial out in turn explains."""
    trials = [trials[index] for index in _spread(len(trials), MODELLED)]
    scores = np.array([score for _, score in trials])
    if np.ptp(scores) <= 0.0:
        return lambda bare: np.zeros(len(bare)), None
    targets = (scores - scores.mean()) / scores.std()
    bare = np.array([columns.row(encode(space, values)[0]) for values, _ in trials])
    features = Features.of(columns.parameters, np.array([bool(choice.when) for choice in space.choices]))
    points, counts = features.encode(bare), np.ones(len(bare))
    few = _spread(len(trials), FITTED)
    posterior = Posterior(fit(features, points[few], targets[few], counts[few]), points, targets, counts)

    def score(rows: Array) -> Array:
        chunks = [features.encode(rows[place : place + ROWS]) for place in range(0, len(rows), ROWS)]
        return np.concatenate([posterior.mean(chunk) for chunk in chunks])

    return score, 1.0 - float((posterior.left_out() ** 2).mean())


def _spread(count: int, most: int) -> Indices:
    """Indices of at most `most` of a count, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
