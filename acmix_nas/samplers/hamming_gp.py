"""`HammingGPSampler`, the default of a search: a Gaussian process over raw choices, for any Optuna study."""

from collections.abc import Mapping

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from acmix_nas.errors import UsageError
from acmix_nas.samplers.base import ProposingSampler, StudyState
from acmix_nas.samplers.distributions import values_of_row
from acmix_nas.samplers.gp import draw_unseen, generator, propose
from acmix_nas.samplers.gp.search_space import Array
from acmix_nas.samplers.observations import Cache, Function, problem_of
from acmix_nas.space import Space

STARTS = 10


class HammingGPSampler(ProposingSampler):
    """Bayesian optimisation with a Gaussian process over the raw choices (docs/search.md has the method).

    Works with every study: categorical, integer and float parameters, conditional ones, one or several objectives,
    constraints, parallel, enqueued, pruned and failed trials. Its proposals are a function of the seed and of the
    stored trials alone, so a resumed study continues as if it had never stopped. It repeats no trial before everything
    was tried; from then on it warns, and repeats the trial of the highest acquisition value.

    Args:
        seed: Seed; None draws one.
        space: The space whose choices the study's parameters are; says which are active before they are suggested.
        costs: Objectives known before training: index or metric name -> exact function, of `Arch` if a space
            is given, else of the dictionary of parameters. They are computed, not modelled.
        constraints: Constraints known before training: key as in `trial.set_constraint` -> exact function of the
            same; the constraint holds where it is at most 0.
        starts: Number of random trials at the start.

    Raises:
        UsageError: While sampling: `costs` names an objective that the study does not have.
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        space: Space | None = None,
        costs: Mapping[int | str, Function] | None = None,
        constraints: Mapping[str, Function] | None = None,
        starts: int = STARTS,
    ) -> None:
        super().__init__(seed, space)
        self._costs = dict(costs or {})
        self._constraints = dict(constraints or {})
        self._starts = starts
        self._cache = Cache()

    def _propose(self, study: Study, trial: FrozenTrial, current: StudyState, *, allow_repeats: bool) -> Array | None:
        space = self._space
        problem = problem_of(
            current.search_space,
            current.trials,
            current.rows,
            [1 if direction == StudyDirection.MAXIMIZE else -1 for direction in study.directions],
            {objective_index(study, key): function for key, function in self._costs.items()},
            self._constraints,
            self._cache,
            (lambda row: space.build(values_of_row(space, row))) if space else current.columns.params,
            current.seen,
        )
        rng = generator(self._seed, trial.number)
        if len(problem.rows) < self._starts and not allow_repeats:
            return draw_unseen(problem.search_space, problem.seen, rng)
        return propose(problem, rng, allow_repeats=allow_repeats)


def objective_index(study: Study, key: int | str) -> int:
    """The index of an objective given by its index or metric name.

    Raises:
        UsageError: The study has no such objective.
    """
    names = study.metric_names or []
    if isinstance(key, str) and key in names:
        return names.index(key)
    if isinstance(key, int) and 0 <= key < len(study.directions):
        return key
    named = f" or one of {', '.join(names)}" if names else "; names need study.set_metric_names"
    raise UsageError(f"costs has the objective {key!r}; this study has 0 to {len(study.directions) - 1}{named}.")
