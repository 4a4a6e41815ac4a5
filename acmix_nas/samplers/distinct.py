"""Optuna's samplers, asked again when they repeat themselves."""

from collections.abc import Callable, Sequence

import numpy as np
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acmix_nas.samplers.base import ProposingSampler, Situation
from acmix_nas.samplers.gp import fresh, stream
from acmix_nas.samplers.gp.parameter import Array
from acmix_nas.samplers.gp.search_space import repeats
from acmix_nas.space import Space

TRIES = 20


class DistinctSampler(ProposingSampler):
    """A sampler of Optuna's that proposes nothing twice: what it repeats is asked again, in the end drawn at random.

    Once all there is was tried it warns, and the inner sampler's proposals are taken as they are.

    The inner sampler is made anew for each trial, seeded by its number, so that a resumed study goes on as if it had
    never stopped; what it has to remember it keeps in the study.

    Args:
        make: Seed -> the inner sampler.
        seed: Seed; None draws one.
        space: The space whose choices the study's parameters are, if they are.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int | None = None, *, space: Space | None = None):
        super().__init__(seed, space)
        self._make = make

    def _propose(self, study: Study, trial: FrozenTrial, known: Situation, *, again: bool) -> Array | None:
        rng = stream(self._seed, trial.number)
        inner = self._make(int(rng.integers(2**31)))
        inner.before_trial(study, trial)
        for _ in range(TRIES):
            row = self._ask(inner, study, trial, known)
            if again or not repeats(row[None], known.seen)[0]:
                return row
        return fresh(known.domain, known.seen, rng)

    def _ask(self, inner: BaseSampler, study: Study, trial: FrozenTrial, known: Situation) -> Array:
        params = inner.sample_relative(study, trial, inner.infer_relative_search_space(study, trial))
        for name, one in known.axes.distributions.items():
            if name not in params:
                params[name] = inner.sample_independent(study, trial, name, one)
        row = known.axes.row(params)
        return np.where(np.isnan(known.domain.held), row, known.domain.held)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Lets the inner sampler take note."""
        self._make(0).after_trial(study, trial, state, values)
