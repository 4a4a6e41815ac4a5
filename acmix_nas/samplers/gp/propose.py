"""From all that was tried to the row to try next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from acmix_nas.samplers.gp.gaussian_process import Hyper
from acmix_nas.samplers.gp.parameter import Array, Mask
from acmix_nas.samplers.gp.search_space import Domain, repeats, unseen
from acmix_nas.samplers.gp.utility import Worth

PARENTS, MUTANTS, RANDOM = 5, 100, 100
CLIMBERS, ROUNDS = 3, 2
"""Best candidates whose neighbours are scored too, and how often that is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """An objective, larger being better, or a constraint, which is kept where it is at most 0.

    Attributes:
        values: (N,) measured values, NaN where there are none.
        exact: Bare rows (C, D) -> (C,) values known without measuring; None if it has to be modelled.
    """

    values: Array
    exact: Callable[[Array], Array] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """All that is known of a search.

    Attributes:
        domain: The rows there are.
        rows: (N, D) distinct bare rows tried, running ones too, in the order of their first trial.
        counts: (N,) how many measurements a row's values are the means of.
        running: (N,) rows whose values are still to come.
        objectives: What is maximised.
        constraints: What is to be at most 0.
        refused: (S, D) further bare rows not to be proposed.
        fits: Where hyperparameters are kept; only saves time.
    """

    domain: Domain
    rows: Array
    counts: Array
    running: Mask
    objectives: Sequence[Quantity]
    constraints: Sequence[Quantity] = ()
    refused: Array | None = None
    fits: dict[bytes, Hyper] = field(default_factory=dict)

    @property
    def seen(self) -> Array:
        """Bare rows not to be proposed."""
        return self.rows if self.refused is None else np.concatenate([self.rows, self.refused])


def propose(task: Task, rng: np.random.Generator, *, again: bool = False) -> Array | None:
    """The full row to try next, or None if every row of the domain was tried.

    Args:
        task: What is known.
        rng: Gives the candidates beside the neighbours.
        again: Whether a row that was tried may come again.
    """
    if any(one.exact is None and np.isfinite(one.values).sum() < 2 for one in task.objectives):
        return task.domain.draw(rng, 1)[0] if again else fresh(task.domain, task.seen, rng)
    pool, worth = _candidates(task, rng)
    seen = task.seen
    for index in np.argsort(-worth, kind="stable"):
        if again or not repeats(pool[index : index + 1], seen)[0]:
            row: Array = pool[index]
            return row
    return fresh(task.domain, task.seen, rng)


def stream(seed: int, *numbers: int) -> np.random.Generator:
    """Random numbers that hang on these whole numbers alone."""
    return np.random.default_rng([number % 2**64 for number in (seed, *numbers)])


def fresh(domain: Domain, seen: Array, rng: np.random.Generator) -> Array | None:
    """A random full row that repeats no seen bare row, or None if there is none."""
    for row in domain.draw(rng, 64):
        if not repeats(row[None], seen)[0]:
            return np.asarray(row)
    return unseen(domain, seen, rng)


def _candidates(task: Task, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows near the best, rows anywhere, and what each is worth; then rows near those of most worth."""
    domain, worth = task.domain, Worth(task, rng)
    parents = domain.filled(task.rows[worth.parents(PARENTS)], rng)
    pool = np.concatenate(
        [domain.neighbours(parents, rng), domain.mutants(parents, rng, MUTANTS), domain.draw(rng, RANDOM)]
    )
    scores = worth(pool)
    for _ in range(ROUNDS):
        best = np.argsort(-scores, kind="stable")[:CLIMBERS]
        around = domain.neighbours(pool[best], rng)
        if not len(around):
            break
        worths = worth(around)
        gained = worths.max() > scores[best[0]]
        pool, scores = np.concatenate([pool, around]), np.concatenate([scores, worths])
        if not gained:
            break
    return pool, scores
