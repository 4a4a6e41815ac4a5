"""The sampler that a search uses by default: a Gaussian process over raw choices, for any Optuna study."""

from collections.abc import Callable, Mapping
from typing import Any

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from acmix_nas.errors import UsageError
from acmix_nas.samplers.base import ProposingSampler, Situation
from acmix_nas.samplers.distributions import Axes, values_of_row
from acmix_nas.samplers.gp import fresh, propose, stream
from acmix_nas.samplers.gp.parameter import Array
from acmix_nas.samplers.observations import Exact, Memory, task_of
from acmix_nas.space import Space

STARTS = 10
Function = Callable[[Any], float]


class HammingGPSampler(ProposingSampler):
    """Bayesian optimisation with a Gaussian process over the raw choices (docs/search.md has the method).

    Works with every study: categorical, integer and float parameters, conditional ones, one or several objectives,
    constraints, parallel, enqueued, pruned and failed trials. What it proposes is a function of the seed and of the
    stored trials alone, so a resumed study goes on as if it had never stopped. It proposes nothing twice before
    all there is was tried; from then on it warns, and repeats what is worth most.

    Args:
        seed: Seed; None draws one.
        space: The space whose choices the study's parameters are; tells which are active before they are asked for.
        costs: Objectives that are known before training: index or metric name -> exact function, of `Arch` if a space
            is given, else of the dictionary of parameters. They are computed, not modelled.
        constraints: Constraints that are known before training: key as in `trial.set_constraint` -> exact function of
            the same; kept where it is at most 0.
        starts: Number of random trials at the beginning.

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
        self._limits = dict(constraints or {})
        self._starts = starts
        self._memory = Memory()

    def _propose(self, study: Study, trial: FrozenTrial, known: Situation, *, again: bool) -> Array | None:
        task = task_of(
            known.domain,
            known.trials,
            known.rows,
            [1 if direction == StudyDirection.MAXIMIZE else -1 for direction in study.directions],
            {objective_index(study, key): self._exact(f"cost {key}", known.axes, f) for key, f in self._costs.items()},
            {key: self._exact(f"limit {key}", known.axes, f) for key, f in self._limits.items()},
            self._memory,
            known.seen,
        )
        rng = stream(self._seed, trial.number)
        if len(task.rows) < self._starts and not again:
            return fresh(task.domain, task.seen, rng)
        return propose(task, rng, again=again)

    def _exact(self, label: str, axes: Axes, function: Function) -> Exact:
        space = self._space
        if space:
            return self._memory.once(label, lambda row: function(space.build(values_of_row(space, row))))
        return self._memory.once(f"{label} {list(axes.distributions)}", lambda row: function(axes.params(row)))


def objective_index(study: Study, key: int | str) -> int:
    """The index of an objective that is named by index or metric name.

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
