"""What a sampler has read of a study, so that a finished trial is read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from acmix_nas.samplers.distributions import Axes, merged_order, wider
from acmix_nas.samplers.gp.parameter import Array

PROPOSAL = "acmix:proposal"
"""System attribute of a trial: what was proposed to it, for trials that are proposed to before it has taken it."""


@dataclass(slots=True)
class Reading:
    """Reads trials into rows; what it returns depends on the trials alone.

    Attributes:
        fixed: The axes, if they are known without trials.
    """

    fixed: Axes | None = None
    _study: str = ""
    _names: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _ranges: dict[str, BaseDistribution] = field(default_factory=dict)
    _axes: Axes = field(default_factory=lambda: Axes({}))
    _rows: dict[int, tuple[Array, Array | None]] = field(default_factory=dict)

    def axes(self, study: str, trials: Sequence[FrozenTrial]) -> Axes:
        """The parameters of all these trials of a study: those given, or the union of what the trials asked for."""
        if study != self._study:
            self._study, self._names, self._ranges, self._rows = study, {}, {}, {}
        if self.fixed:
            return self.fixed
        ranges, names = dict(self._ranges), []
        for trial in trials:
            known = self._names.get(trial.number)
            if known is None:
                known = tuple(trial.distributions)
                _merge(ranges, trial.distributions)
                if trial.state.is_finished():
                    self._names[trial.number] = known
                    _merge(self._ranges, trial.distributions)
            names.append(known)
        union = {name: ranges[name] for name in merged_order(dict.fromkeys(names))}
        if list(union) != list(self._axes.distributions) or union != self._axes.distributions:
            self._axes, self._rows = Axes(union), {}
        return self._axes

    def rows(self, axes: Axes, trials: Sequence[FrozenTrial]) -> tuple[Array, Array]:
        """Bare rows of the trials (T, D), and rows proposed to finished ones that these did not take as they were."""
        read = [self._row(axes, trial) for trial in trials]
        width = len(axes.parameters)
        refused = [other for _, other in read if other is not None]
        return np.array([row for row, _ in read]).reshape(-1, width), np.array(refused).reshape(-1, width)

    def _row(self, axes: Axes, trial: FrozenTrial) -> tuple[Array, Array | None]:
        if trial.number in self._rows:
            return self._rows[trial.number]
        row = axes.row(trial.params)
        proposal: Mapping[str, Any] | None = trial.system_attrs.get(PROPOSAL)
        proposed = None if proposal is None else axes.row(proposal)
        if not trial.state.is_finished():
            if trial.state == TrialState.RUNNING and proposed is not None:
                return np.where(np.isnan(row), proposed, row), None
            return row, None
        refused = None
        if proposed is not None:
            proposed = np.where(np.isnan(row) | np.isnan(proposed), row, proposed)
            refused = None if np.array_equal(row, proposed, equal_nan=True) else proposed
        self._rows[trial.number] = row, refused
        return row, refused


def _merge(ranges: dict[str, BaseDistribution], new: Mapping[str, BaseDistribution]) -> None:
    for name, one in new.items():
        old = ranges.get(name)
        if old is not one and old != one:
            ranges[name] = one if old is None else wider(old, one)
