"""What all samplers of a search share: rows of what was tried, one proposal at a time, an end when all was tried."""

import threading
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acmix_nas.samplers.distributions import Axes, axes_of_space, domain_of_space, domain_of_trials, from_level
from acmix_nas.samplers.gp import Domain, stream
from acmix_nas.samplers.gp.parameter import Array
from acmix_nas.samplers.trials import PROPOSAL, Reading
from acmix_nas.space import Space


@dataclass(frozen=True, slots=True)
class Situation:
    """A study at the moment of a proposal.

    Attributes:
        axes: All parameters known.
        domain: The rows there are.
        trials: The other trials that began, by number.
        rows: (T, D) their bare rows; of a running one what was proposed to it.
        seen: (S, D) bare rows not to be proposed: these, and proposals that a study did not take as they were, because
            a parameter's range had changed.
    """

    axes: Axes
    domain: Domain
    trials: Sequence[FrozenTrial]
    rows: Array
    seen: Array


class ProposingSampler(BaseSampler):
    """A sampler that proposes whole rows.

    Args:
        seed: Seed; None draws one.
        space: The space whose choices the study's parameters are, if they are.
    """

    def __init__(self, seed: int | None, space: Space | None) -> None:
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._space = space
        self._reading = Reading(axes_of_space(space) if space else None)
        self._lock = threading.RLock()

    @abstractmethod
    def _propose(self, study: Study, trial: FrozenTrial, known: Situation, *, again: bool) -> Array | None:
        """The full row to try next; None if all were tried, unless one may come again."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_reading")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reading = Reading(axes_of_space(self._space) if self._space else None)
        self._lock = threading.RLock()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters known: those of the space, or all that the study's trials asked for."""
        with self._lock:
            return self._reading.axes(study.study_name, _others(study, trial)).distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Proposes a value for every parameter, also for those that may not be asked for."""
        if not search_space:
            return {}
        with self._lock:
            trials = _others(study, trial)
            axes = self._reading.axes(study.study_name, trials)
            known = self._situation(axes, trials, _held(axes, trial))
            row = self._propose(study, trial, known, again=False)
            if row is None:
                if np.isnan(known.domain.held).all():
                    warnings.warn(f"{self}: all there is was tried; some of it is tried again.", stacklevel=2)
                row = self._propose(study, trial, known, again=True)
            assert row is not None
            levels = known.domain.bare(row[None])[0] if self._space else row
            params = axes.params(levels)
            study._storage.set_trial_system_attr(trial._trial_id, PROPOSAL, params)
        return {name: value for name, value in params.items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value for a parameter that no trial asked for before, or whose range is not what it was."""
        rng = stream(self._seed, trial.number, crc32(param_name.encode()))
        (parameter,) = Axes({param_name: param_distribution}).parameters
        values = [from_level(param_distribution, float(level)) for level in parameter.draw(rng, TRIES)]
        tried = [other.params for other in _others(study, trial)]
        return next((value for value in values if {**trial.params, param_name: value} not in tried), values[0])

    def _situation(self, axes: Axes, trials: Sequence[FrozenTrial], held: Array | None) -> Situation:
        rows, refused = self._reading.rows(axes, trials)
        asked = np.asarray(~np.isnan(rows).all(axis=1))
        trials = [trial for trial, any_ in zip(trials, asked, strict=True) if any_]
        rows = rows[asked]
        if self._space:
            domain = domain_of_space(self._space, axes, held)
        else:
            complete = np.array([trial.state == TrialState.COMPLETE for trial in trials], dtype=bool)
            domain = domain_of_trials(axes, rows, complete, held)
        rows = _without_latent(domain, axes, trials, rows)
        return Situation(axes, domain, trials, rows, np.concatenate([rows, refused]))


TRIES = 20
_STARTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


def _others(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False, states=_STARTED)
    return [other for other in trials if other.number != trial.number]


def _without_latent(domain: Domain, axes: Axes, trials: Sequence[FrozenTrial], rows: Array) -> Array:
    """Leaves out of running trials' rows what was proposed to them but is not expected to be asked for."""
    running = [index for index, trial in enumerate(trials) if trial.state == TrialState.RUNNING]
    for index in running:
        row = rows[index]
        active = domain.active(np.nan_to_num(row)[None])[0] | ~np.isnan(axes.row(trials[index].params))
        rows[index] = np.where(active, row, np.nan)
    return rows


def _held(axes: Axes, trial: FrozenTrial) -> Array | None:
    """Levels that an enqueued trial has fixed."""
    fixed = trial.system_attrs.get("fixed_params") or {}
    return axes.row({name: value for name, value in fixed.items() if axes.contains(name, value)}) if fixed else None
