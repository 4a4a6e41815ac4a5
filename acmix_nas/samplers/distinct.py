"""`DistinctSampler`: any Optuna sampler, without its repeats."""

from collections.abc import Callable, Sequence

import numpy as np
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acmix_nas.samplers.base import ProposingSampler, StudyState
from acmix_nas.samplers.gp import draw_unseen, generator
from acmix_nas.samplers.gp.search_space import Array, repeats
from acmix_nas.space import Space

ASKS = 20
"""Proposals asked of the inner sampler, at most, until one is new."""


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
