"""Proposes the row to try next: the candidate of the highest acquisition value that repeats nothing."""

import numpy as np

from acmix_nas.samplers.gp.acquisition import Acquisition
from acmix_nas.samplers.gp.problem import Problem
from acmix_nas.samplers.gp.search_space import Array, SearchSpace, find_unseen, repeats

PARENTS, MUTANTS, RANDOM = 5, 100, 100
CLIMBERS, ROUNDS = 3, 2
"""Best candidates whose neighbours become candidates too, and how often that is repeated."""


def propose(problem: Problem, rng: np.random.Generator, *, allow_repeats: bool = False) -> Array | None:
    """The full row to try next; None if every row was tried.

    Args:
        problem: What is known.
        rng: Draws the candidates beside the neighbours.
        allow_repeats: Whether a row that was tried may be proposed again.
    """
    search_space, seen = problem.search_space, problem.seen
    if any(one.exact is None and np.isfinite(one.values).sum() < 2 for one in problem.objectives):
        return search_space.draw(rng, 1)[0] if allow_repeats else draw_unseen(search_space, seen, rng)
    candidates, values = _candidates(problem, rng)
    for index in np.argsort(-values, kind="stable"):
        if allow_repeats or not repeats(candidates[index : index + 1], seen)[0]:
            row: Array = candidates[index]
            return row
    return draw_unseen(search_space, seen, rng)


def generator(seed: int, *numbers: int) -> np.random.Generator:
    """A random generator seeded by these whole numbers alone."""
    return np.random.default_rng([number % 2**64 for number in (seed, *numbers)])


def draw_unseen(search_space: SearchSpace, seen: Array, rng: np.random.Generator) -> Array | None:
    """A random full row that repeats no seen bare row; None if there is none."""
    for row in search_space.draw(rng, 64):
        if not repeats(row[None], seen)[0]:
            return np.asarray(row)
    return find_unseen(search_space, seen, rng)


def _candidates(problem: Problem, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows near the best and rows anywhere, then rows near the best of those; each with its acquisition value."""
    search_space, acquisition = problem.search_space, Acquisition(problem, rng)
    parents = search_space.filled(problem.rows[acquisition.parents(PARENTS)], rng)
    pool = np.concatenate(
        [
            search_space.neighbours(parents, rng),
            search_space.mutants(parents, rng, MUTANTS),
            search_space.draw(rng, RANDOM),
        ]
    )
    values = acquisition(pool)
    for _ in range(ROUNDS):
        best = np.argsort(-values, kind="stable")[:CLIMBERS]
        around = search_space.neighbours(pool[best], rng)
        if not len(around):
            break
        new_values = acquisition(around)
        has_improved = new_values.max() > values[best[0]]
        pool, values = np.concatenate([pool, around]), np.concatenate([values, new_values])
        if not has_improved:
            break
    return pool, values
