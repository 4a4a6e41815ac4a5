"""From Optuna's trials to what is known of each row."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from acmix_nas.samplers.gp import Domain, Quantity, Task
from acmix_nas.samplers.gp.gaussian_process import Hyper
from acmix_nas.samplers.gp.parameter import Array, Mask

Exact = Callable[[Array], Array]
HUGE = 1e300


@dataclass(slots=True)
class Memory:
    """Results of one search kept between calls to save time; they never change what is proposed.

    Attributes:
        fits: Hyperparameters of models.
        exact: Values of exact functions, by the function's label and bare row.
        rows: Bare rows by the parameters that they are of.
    """

    fits: dict[bytes, Hyper] = field(default_factory=dict)
    exact: dict[tuple[str, bytes], float] = field(default_factory=dict)
    rows: dict[tuple[tuple[str, Any], ...], Array] = field(default_factory=dict)

    def row(self, params: Mapping[str, Any], of: Callable[[Mapping[str, Any]], Array]) -> Array:
        """The bare row of parameters, which `of` makes once for each."""
        key = tuple(params.items())
        if key not in self.rows:
            self.rows[key] = of(params)
        return self.rows[key]

    def once(self, label: str, function: Callable[[Array], float]) -> Exact:
        """A function of a bare row as one of many, which is called once for each."""

        def value(row: Array) -> float:
            key = (label, row.tobytes())
            if key not in self.exact:
                self.exact[key] = float(function(row))
            return self.exact[key]

        return lambda bare: np.array([value(row) for row in bare], dtype=np.float64)


def varied(
    trial: FrozenTrial,
    state: TrialState,
    values: Sequence[float] | None,
    *,
    intermediate: Mapping[int, float] | None = None,
    system: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """A trial with another end and without what belongs to its storage.

    Its parameters are those of the trial, so they are not validated once more: `optuna.create_trial` takes 30 of them
    longer than all else that a search does with a trial.

    Args:
        trial: The trial; it stays as it is.
        state: How the new one ended.
        values: Of the objectives.
        intermediate: Value at each step.
        system: System attributes.
    """
    found = copy(trial)
    found.state = state
    found.values = None if values is None else list(values)
    found.intermediate_values = dict(intermediate or {})
    found.user_attrs, found._system_attrs = {}, dict(system or {})
    found.datetime_complete = found.datetime_start if state.is_finished() else None
    return found


@dataclass(frozen=True, slots=True)
class Rows:
    """Distinct bare rows, and which of them each trial is.

    Attributes:
        rows: (N, D) in the order of their first trial.
        place: (T,) row of each trial.
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
        """(N,) means over each row's trials (T,), without NaN; NaN where there are no others."""
        given = ~np.isnan(values)
        count = np.bincount(self.place[given], minlength=len(self.rows))
        total = np.bincount(self.place[given], weights=values[given], minlength=len(self.rows))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def task_of(
    domain: Domain,
    trials: Sequence[FrozenTrial],
    trial_rows: Array,
    directions: Sequence[int],
    costs: Mapping[int, Exact],
    limits: Mapping[str, Exact],
    memory: Memory,
    refused: Array | None = None,
) -> Task:
    """What is known of a search.

    Several trials of one row are measurements of one thing: their mean counts. A failed trial is not tried again, and
    the more of them fail, the more a constraint keeps away from where they do.

    Args:
        domain: The rows there are.
        trials: All trials but the one to propose for.
        trial_rows: (T, D) their bare rows.
        directions: 1 where an objective is maximised, -1 where it is minimised.
        costs: Index of an objective -> its exact function of bare rows.
        limits: Key of a constraint -> its exact function of bare rows.
        memory: Kept between calls.
        refused: Further bare rows not to be proposed.
    """
    rows = Rows.of(trial_rows)
    states = [trial.state for trial in trials]
    values = _values(trials, directions, [index for index in range(len(directions)) if index not in costs])
    finished = np.array([state.is_finished() for state in states], dtype=bool)
    given = np.array([state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states], dtype=bool)
    return Task(
        domain=domain,
        rows=rows.rows,
        counts=np.maximum(np.bincount(rows.place[given], minlength=len(rows.rows)), 1).astype(np.float64),
        running=np.isnan(rows.mean(np.where(finished, 1.0, np.nan))),
        objectives=[
            Quantity(values=rows.mean(column), exact=_signed(costs.get(index), directions[index]))
            for index, column in enumerate(values.T)
        ],
        constraints=[*_constraints(trials, rows, limits), *_failures(states, rows)],
        refused=refused,
        fits=memory.fits,
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
    """What pruned trials would have reached: the final value at the rank that they had when they were pruned.

    Ranked among the complete trials that reported at the same step, but never above the median of what is complete:
    a pruned trial was not among the best. NaN for a trial that reported nothing that can be ranked.

    Args:
        trials: All trials.
        values: (T,) final values, larger being better; NaN where there are none.
        pruned: (T,) which are pruned.
        direction: 1 if reported values are better the larger they are, else -1.
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


def _constraints(trials: Sequence[FrozenTrial], rows: Rows, limits: Mapping[str, Exact]) -> list[Quantity]:
    given = [dict(trial.constraints) if trial.state.is_finished() else {} for trial in trials]
    keys = dict.fromkeys([*limits, *(key for one in given for key in one)])
    columns = {key: np.array([one.get(key, np.nan) for one in given], dtype=np.float64) for key in keys}
    return [
        Quantity(values=rows.mean(np.clip(column, -HUGE, HUGE)), exact=limits.get(key))
        for key, column in columns.items()
    ]


def _failures(states: Sequence[TrialState], rows: Rows) -> list[Quantity]:
    if TrialState.FAIL not in states:
        return []
    code = {TrialState.FAIL: 1.0, TrialState.COMPLETE: -1.0, TrialState.PRUNED: -1.0}
    return [Quantity(values=rows.mean(np.array([code.get(state, np.nan) for state in states])))]


def _signed(exact: Exact | None, direction: int) -> Exact | None:
    if exact is None:
        return None
    return lambda bare: direction * exact(bare)
