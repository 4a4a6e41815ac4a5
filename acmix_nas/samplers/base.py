"""`ProposingSampler`: reads trials as rows, proposes a whole row at a time, and says when everything was tried."""

import threading
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acmix_nas.samplers.distributions import (
    Columns,
    columns_of_space,
    from_level,
    merged_order,
    search_space_of,
    search_space_of_trials,
    wider,
)
from acmix_nas.samplers.gp import SearchSpace, generator
from acmix_nas.samplers.gp.search_space import Array
from acmix_nas.space import Space

DRAWS = 20
"""Random values of a new parameter, at most, until one makes the trial unlike all others."""
PROPOSAL = "acmix:proposal"
"""System attribute of a trial: the parameters proposed to it, before it has suggested them itself."""
_STARTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


@dataclass(frozen=True, slots=True)
class StudyState:
    """A study at the moment of a proposal.

    Attributes:
        columns: All known parameters.
        search_space: All rows.
        trials: The other trials that have started, by number.
        rows: (T, D) their bare rows; of a running trial the row proposed to it.
        seen: (S, D) bare rows not to be proposed: `rows`, and proposals that a trial could not take because the range
            of a parameter had changed.
    """

    columns: Columns
    search_space: SearchSpace
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
        self._prepare()

    def _prepare(self) -> None:
        self._reader = TrialReader(columns_of_space(self._space) if self._space else None)
        self._lock = threading.RLock()

    @abstractmethod
    def _propose(self, study: Study, trial: FrozenTrial, current: StudyState, *, allow_repeats: bool) -> Array | None:
        """The full row to try next; None if every row was tried and repeats are not allowed."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_reader")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All known parameters: those of the space, or all that the study's trials have suggested."""
        with self._lock:
            return self._reader.columns(study.study_name, _others(study, trial)).distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Proposes a value for every parameter, whether or not the trial suggests it later."""
        if not search_space:
            return {}
        with self._lock:
            trials = _others(study, trial)
            columns = self._reader.columns(study.study_name, trials)
            current = self._state(columns, trials, _fixed_levels(columns, trial))
            row = self._propose(study, trial, current, allow_repeats=False)
            if row is None:
                if np.isnan(current.search_space.fixed).all():
                    warnings.warn(f"{self}: everything was tried; trials are repeated from now on.", stacklevel=2)
                row = self._propose(study, trial, current, allow_repeats=True)
            assert row is not None
            levels = current.search_space.bare(row[None])[0] if self._space else row
            params = columns.params(levels)
            # Optuna has no public call for this: its own samplers write what belongs to a trial in the same way.
            study._storage.set_trial_system_attr(trial._trial_id, PROPOSAL, params)
        return {name: value for name, value in params.items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value of a parameter that no trial has suggested before, or whose range has changed."""
        rng = generator(self._seed, trial.number, crc32(param_name.encode()))
        (parameter,) = Columns({param_name: param_distribution}).parameters
        values = [from_level(param_distribution, float(level)) for level in parameter.draw(rng, DRAWS)]
        tried = [other.params for other in _others(study, trial)]
        return next((value for value in values if {**trial.params, param_name: value} not in tried), values[0])

    def _state(self, columns: Columns, trials: Sequence[FrozenTrial], fixed: Array) -> StudyState:
        rows, not_taken = self._reader.rows(columns, trials)
        has_params = np.asarray(~np.isnan(rows).all(axis=1))
        trials = [trial for trial, has_some in zip(trials, has_params, strict=True) if has_some]
        rows = rows[has_params]
        if self._space:
            search_space = search_space_of(self._space, columns, fixed)
        else:
            complete = np.array([trial.state == TrialState.COMPLETE for trial in trials], dtype=bool)
            search_space = search_space_of_trials(columns, rows, complete, fixed)
        rows = _without_inactive(search_space, columns, trials, rows)
        return StudyState(columns, search_space, trials, rows, np.concatenate([rows, not_taken]))


@dataclass(slots=True)
class TrialReader:
    """Reads trials as rows, each finished trial once; what it returns depends on the trials alone.

    Attributes:
        known: The columns, if they are known without trials.
    """

    known: Columns | None = None
    _study: str = ""
    _names: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _ranges: dict[str, BaseDistribution] = field(default_factory=dict)
    _columns: Columns = field(default_factory=lambda: Columns({}))
    _rows: dict[int, tuple[Array, Array | None]] = field(default_factory=dict)

    def columns(self, study: str, trials: Sequence[FrozenTrial]) -> Columns:
        """The parameters of a study: the known ones, or the union of those that its trials have suggested."""
        if study != self._study:
            self._study, self._names, self._ranges, self._rows = study, {}, {}, {}
        if self.known:
            return self.known
        ranges, names = dict(self._ranges), []
        for trial in trials:
            read = self._names.get(trial.number)
            if read is None:
                read = tuple(trial.distributions)
                _merge(ranges, trial.distributions)
                if trial.state.is_finished():
                    self._names[trial.number] = read
                    _merge(self._ranges, trial.distributions)
            names.append(read)
        union = {name: ranges[name] for name in merged_order(dict.fromkeys(names))}
        if list(union) != list(self._columns.distributions) or union != self._columns.distributions:
            self._columns, self._rows = Columns(union), {}
        return self._columns

    def rows(self, columns: Columns, trials: Sequence[FrozenTrial]) -> tuple[Array, Array]:
        """Bare rows of the trials (T, D), and proposals that finished trials could not take as they were (S, D)."""
        read = [self._row(columns, trial) for trial in trials]
        width = len(columns.parameters)
        not_taken = [other for _, other in read if other is not None]
        return np.array([row for row, _ in read]).reshape(-1, width), np.array(not_taken).reshape(-1, width)

    def _row(self, columns: Columns, trial: FrozenTrial) -> tuple[Array, Array | None]:
        if trial.number in self._rows:
            return self._rows[trial.number]
        row = columns.row(trial.params)
        proposal: Mapping[str, Any] | None = trial.system_attrs.get(PROPOSAL)
        proposed = None if proposal is None else columns.row(proposal)
        if not trial.state.is_finished():
            if trial.state == TrialState.RUNNING and proposed is not None:
                return np.where(np.isnan(row), proposed, row), None
            return row, None
        not_taken = None
        if proposed is not None:
            proposed = np.where(np.isnan(row) | np.isnan(proposed), row, proposed)
            not_taken = None if np.array_equal(row, proposed, equal_nan=True) else proposed
        self._rows[trial.number] = row, not_taken
        return row, not_taken


def _merge(ranges: dict[str, BaseDistribution], new: Mapping[str, BaseDistribution]) -> None:
    for name, one in new.items():
        old = ranges.get(name)
        if old is not one and old != one:
            ranges[name] = one if old is None else wider(old, one)


def _others(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False, states=_STARTED)
    return [other for other in trials if other.number != trial.number]


def _without_inactive(search_space: SearchSpace, columns: Columns, trials: Sequence[FrozenTrial], rows: Array) -> Array:
    """Removes from the rows of running trials the proposed levels that the trials are not expected to suggest."""
    running = [index for index, trial in enumerate(trials) if trial.state == TrialState.RUNNING]
    for index in running:
        row = rows[index]
        active = search_space.active(np.nan_to_num(row)[None])[0] | ~np.isnan(columns.row(trials[index].params))
        rows[index] = np.where(active, row, np.nan)
    return rows


def _fixed_levels(columns: Columns, trial: FrozenTrial) -> Array:
    """The levels that an enqueued trial fixes, NaN where it fixes none."""
    fixed = trial.system_attrs.get("fixed_params") or {}
    return columns.row({name: value for name, value in fixed.items() if columns.contains(name, value)})
