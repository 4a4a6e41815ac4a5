"""`problem_of`: the observations of a study's trials as a `Problem`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from acmix_nas.samplers.gp import Problem, Quantity, SearchSpace
from acmix_nas.samplers.gp.gaussian_process import Hyper
from acmix_nas.samplers.gp.search_space import Array, Mask

Function = Callable[[Any], float]
Exact = Callable[[Array], Array]
HUGE = 1e300
FAILURE = "acmix:failure"
"""Key of the constraint that a trial does not fail."""


@dataclass(slots=True)
class Cache:
    """Results of one search kept between calls; they save time and change no proposal.

    Attributes:
        fits: Fitted hyperparameters, by the measurements.
        exact: Values of exact functions, by the function's label and bare row.
        rows: Bare rows, by their parameters.
    """

    fits: dict[bytes, Hyper] = field(default_factory=dict)
    exact: dict[tuple[str, bytes], float] = field(default_factory=dict)
    rows: dict[tuple[tuple[str, Any], ...], Array] = field(default_factory=dict)

    def row(self, params: Mapping[str, Any], of: Callable[[Mapping[str, Any]], Array]) -> Array:
        """The bare row of parameters, made by `of` once."""
        key = tuple(params.items())
        if key not in self.rows:
            self.rows[key] = of(params)
        return self.rows[key]

    def cached(self, label: str, function: Function, read: Callable[[Array], Any]) -> Exact:
        """A function of what `read` makes of a bare row, for many rows (C, D); called once for each distinct one."""

        def value(row: Array) -> float:
            key = (label, row.tobytes())
            if key not in self.exact:
                self.exact[key] = float(function(read(row)))
            return self.exact[key]

        return lambda bare: np.array([value(row) for row in bare], dtype=np.float64)


def copied_trial(
    trial: FrozenTrial,
    state: TrialState,
    values: Sequence[float] | None,
    *,
    intermediate: Mapping[int, float] | None = None,
    system: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """A copy of a trial with another state, other values and no attributes of its storage.

    Unlike `optuna.create_trial` it does not validate the parameters again, which takes longer than all else that a
    search does with a trial.

    Args:
        trial: The trial; not changed.
        state: State of the copy.
        values: Values of the objectives.
        intermediate: Intermediate value of each step.
        system: System attributes.
    """
    found = copy(trial)
    found.state = state
    found.values = None if values is None else list(values)
    found.intermediate_values = dict(intermediate or {})
    found.user_attrs, found.system_attrs = {}, dict(system or {})
    found.datetime_complete = found.datetime_start if state.is_finished() else None
    return found


@dataclass(frozen=True, slots=True)
class Rows:
    """Distinct bare rows, and the row of each trial.

    Attributes:
        rows: (N, D) in the order of their first trial.
        place: (T,) index of each trial's row.
    """

    rows: Array
    place: NDArray[np.intp]

    @classmethod
    def of(cls, trial_rows: Array) -> "Rows":
        """Groups the rows of trials (T, D)."""
        places: dict[bytes, int] = {}
        place = [places.setdefault(row.tobytes(), len(places)) for row in trial_rows]
        first = np.unique(place, return_index=True)[1] if place else np.empty(0, dtype=np.intp)
        return cls(trial_rows[first], np.array(place, dtype=np.intp))

    def mean(self, values: Array) -> Array:
        """(N,) means of the values (T,) of each row's trials, NaN left out; NaN where nothing is left."""
        given = ~np.isnan(values)
        count = np.bincount(self.place[given], minlength=len(self.rows))
        total = np.bincount(self.place[given], weights=values[given], minlength=len(self.rows))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def problem_of(
    search_space: SearchSpace,
    trials: Sequence[FrozenTrial],
    trial_rows: Array,
    directions: Sequence[int],
    costs: Mapping[int, Function],
    constraints: Mapping[str, Function],
    cache: Cache,
    read: Callable[[Array], Any] = np.asarray,
    excluded: Array | None = None,
) -> Problem:
    """The problem of a search.

    Several trials of one row are measurements of one network: their mean counts. A failed trial is not repeated, and
    failures are a constraint of their own, which keeps proposals away from where trials fail.

    Args:
        search_space: All rows.
        trials: All trials but the one to propose for.
        trial_rows: (T, D) their bare rows.
        directions: 1 where an objective is maximised, -1 where it is minimised.
        costs: Index of an objective -> its exact function.
        constraints: Key of a constraint -> its exact function.
        cache: Of this search.
        read: What exact functions take, from a bare row.
        excluded: Further bare rows not to be proposed.
    """

    def exact(kind: str, key: int | str, function: Function | None) -> Exact | None:
        if function is None:
            return None
        names = [parameter.name for parameter in search_space.parameters]
        return cache.cached(f"{kind} {key} {names}", function, read)

    rows = Rows.of(trial_rows)
    states = [trial.state for trial in trials]
    values = _values(trials, directions, [index for index in range(len(directions)) if index not in costs])
    finished = np.array([state.is_finished() for state in states], dtype=bool)
    given = np.array([state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states], dtype=bool)
    return Problem(
        search_space=search_space,
        rows=rows.rows,
        counts=np.maximum(np.bincount(rows.place[given], minlength=len(rows.rows)), 1).astype(np.float64),
        running=np.isnan(rows.mean(np.where(finished, 1.0, np.nan))),
        objectives=[
            Quantity(values=rows.mean(column), exact=_signed(exact("cost", index, costs.get(index)), directions[index]))
            for index, column in enumerate(values.T)
        ],
        constraints=[
            Quantity(values=rows.mean(column), exact=exact("limit", key, constraints.get(key)))
            for key, column in _constraints(trials, constraints).items()
        ],
        excluded=excluded,
        fits=cache.fits,
    )


def _values(trials: Sequence[FrozenTrial], directions: Sequence[int], modelled: Sequence[int]) -> Array:
    """(T, K) values, larger being better; those of pruned trials where one objective alone is modelled."""
    values = np.full((len(trials), len(directions)), np.nan)
    for row, trial in zip(values, trials, strict=True):
        if trial.state == TrialState.COMPLETE:
            row[:] = np.clip(trial.values, -HUGE, HUGE)
    values *= directions
    pruned = np.array([trial.state == TrialState.PRUNED for trial in trials], dtype=bool)
    if pruned.any() and len(modelled) == 1:
        (column,) = modelled
        values[pruned, column] = pruned_values(trials, values[:, column], pruned, directions[column])
    return values


def pruned_values(trials: Sequence[FrozenTrial], values: Array, pruned: Mask, direction: int) -> Array:
    """Estimates of the values that pruned trials would have reached: the final value at their rank when pruned.

    The rank is that among the complete trials that reported at the same step, but never above the median of the
    complete ones: a pruned trial was not among the best. NaN for a trial that reported nothing that can be ranked.

    Args:
        trials: All trials.
        values: (T,) final values, larger being better; NaN where there are none.
        pruned: (T,) which trials are pruned.
        direction: 1 if larger reported values are better, else -1.
    """
    complete = [(trial, value) for trial, value in zip(trials, values, strict=True) if value == value]
    found = []
    for trial in (trial for trial, is_pruned in zip(trials, pruned, strict=True) if is_pruned):
        step = max(trial.intermediate_values, default=-1)
        peers = [(other, value) for other, value in complete if step in other.intermediate_values]
        if len(peers) < 2 or not np.isfinite(trial.intermediate_values[step]):
            found.append(np.nan)
            continue
        then = direction * np.array([other.intermediate_values[step] for other, _ in peers])
        share = float((then < direction * trial.intermediate_values[step]).mean())
        found.append(float(np.quantile([value for _, value in peers], min(share, 0.5))))
    return np.array(found)


def _constraints(trials: Sequence[FrozenTrial], keys: Iterable[str]) -> dict[str, Array]:
    """(T,) values of each constraint, those of `keys` first and failures last, where there are some."""
    given = [dict(trial.constraints) if trial.state.is_finished() else {} for trial in trials]
    keys = dict.fromkeys([*keys, *(key for one in given for key in one)])
    columns = {key: np.clip([one.get(key, np.nan) for one in given], -HUGE, HUGE) for key in keys}
    states = [trial.state for trial in trials]
    if TrialState.FAIL in states:
        code = {TrialState.FAIL: 1.0, TrialState.COMPLETE: -1.0, TrialState.PRUNED: -1.0}
        columns[FAILURE] = np.array([code.get(state, np.nan) for state in states])
    return columns


def _signed(exact: Exact | None, direction: int) -> Exact | None:
    if exact is None:
        return None
    return lambda bare: direction * exact(bare)
