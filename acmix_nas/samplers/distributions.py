"""Converts Optuna's parameters to rows of `acmix_nas.samplers.gp` and back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, log
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import create_trial

from acmix_nas.samplers.gp import Parameter, SearchSpace
from acmix_nas.samplers.gp.conditions import Conditions
from acmix_nas.samplers.gp.search_space import DIGITS, Array, Mask
from acmix_nas.space import Choice, Space, Values


class Columns:
    """The parameters of a search in the order of a row's columns.

    Args:
        distributions: Name -> distribution; a parameter comes after those that decide whether it is active.

    Attributes:
        distributions: The same.
        parameters: The parameter of each column.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self.distributions = dict(distributions)
        self.parameters = tuple(_parameter(name, one) for name, one in self.distributions.items())
        self._to_level = {name: _to_level(one) for name, one in self.distributions.items()}

    def row(self, params: Mapping[str, Any]) -> Array:
        """The bare row of parameters."""
        return np.array([to(params[name]) if name in params else np.nan for name, to in self._to_level.items()])

    def contains(self, name: str, value: Any) -> bool:
        """Whether it has such a parameter and the value is in its range."""
        if name not in self.distributions:
            return False
        try:
            create_trial(value=0.0, params={name: value}, distributions={name: self.distributions[name]})
        except ValueError:
            return False
        return True

    def params(self, row: Array) -> dict[str, Any]:
        """The parameters of a row, without those that are NaN."""
        return {
            name: from_level(one, float(level))
            for (name, one), level in zip(self.distributions.items(), row, strict=True)
            if level == level
        }


def columns_of_space(space: Space) -> Columns:
    """The choices of a space: nominal ones as categories, ordered ones as integers over the index."""
    return Columns({choice.name: distribution(choice) for choice in space.choices})


def distribution(choice: Choice) -> BaseDistribution:
    """The distribution of a choice in a study."""
    return IntDistribution(0, len(choice.options) - 1) if choice.ordered else CategoricalDistribution(choice.options)


def search_space_of(space: Space, columns: Columns, fixed: Array | None = None) -> SearchSpace:
    """The rows of a space; its `when` says which choices are active."""
    if not any(choice.when for choice in space.choices):
        return SearchSpace(columns.parameters, None, fixed)
    column = {choice.name: index for index, choice in enumerate(space.choices)}
    rules = [
        [(column[name], _levels_of(space.choices[column[name]], allowed)) for name, allowed in choice.when.items()]
        for choice in space.choices
    ]

    def active(full: Array) -> Mask:
        mask = np.ones(full.shape, dtype=bool)
        for index, rule in enumerate(rules):
            for parent, levels in rule:
                # np.isin gives the same, and takes many times as long for so few levels.
                mask[:, index] &= mask[:, parent] & (full[:, parent, None] == levels).any(axis=1)
        return mask

    return SearchSpace(columns.parameters, active, fixed)


def values_of_row(space: Space, bare: Array) -> Values:
    """The values of a space's choices in a bare row."""
    return {
        choice.name: choice.options[int(level)]
        for choice, level in zip(space.choices, bare, strict=True)
        if level == level
    }


def merged_order(patterns: Iterable[Sequence[str]]) -> list[str]:
    """The names of several sequences in one order that keeps the order of each."""
    order: list[str] = []
    for names in patterns:
        place = 0
        for name in names:
            if name in order:
                place = max(place, order.index(name) + 1)
            else:
                order.insert(place, name)
                place += 1
    return order


def search_space_of_trials(columns: Columns, bare: Array, complete: Mask, fixed: Array | None = None) -> SearchSpace:
    """The rows of a define-by-run study: its trials show which parameters are active when."""
    shown = bare[complete] if complete.any() else bare
    if not np.isnan(shown).any():
        return SearchSpace(columns.parameters, None, fixed)
    return SearchSpace(columns.parameters, Conditions.learn(columns.parameters, shown), fixed)


def from_level(one: BaseDistribution, level: float) -> Any:
    """The value of a parameter at a level."""
    if isinstance(one, CategoricalDistribution):
        return one.choices[int(level)]
    if isinstance(one, IntDistribution):
        return int(one.low + one.step * int(level))
    assert isinstance(one, FloatDistribution)
    if one.step is not None:
        return float(min(one.low + one.step * level, one.high))
    if one.log:
        return float(np.clip(exp(log(one.low) + level * (log(one.high) - log(one.low))), one.low, one.high))
    return float(np.clip(one.low + level * (one.high - one.low), one.low, one.high))


def _to_level(one: BaseDistribution) -> Callable[[Any], float]:
    if isinstance(one, CategoricalDistribution):
        return one.to_internal_repr
    assert isinstance(one, IntDistribution | FloatDistribution)
    if one.step is not None:
        step = one.step
        return lambda value: float(round((value - one.low) / step))
    if one.high == one.low:
        return lambda value: 0.0
    if one.log:
        return lambda value: round(log(value / one.low) / log(one.high / one.low), DIGITS)
    return lambda value: round((value - one.low) / (one.high - one.low), DIGITS)


def _parameter(name: str, one: BaseDistribution) -> Parameter:
    if isinstance(one, CategoricalDistribution):
        return Parameter(name=name, size=len(one.choices), group=one.choices)
    assert isinstance(one, IntDistribution | FloatDistribution)
    group = (type(one).__name__, one.low, one.high, one.log)
    if one.step is None:
        return Parameter(name=name, size=None, ordered=True, group=group)
    size = round((one.high - one.low) / one.step) + 1
    return Parameter(name=name, size=size, ordered=True, low=one.low, step=one.step, log=one.log, group=group)


def wider(old: BaseDistribution, new: BaseDistribution) -> BaseDistribution:
    """The range that covers both ranges of a parameter."""
    if isinstance(old, IntDistribution) and isinstance(new, IntDistribution):
        low, high = min(old.low, new.low), max(old.high, new.high)
        return IntDistribution(low, high, log=new.log, step=new.step)
    if isinstance(old, FloatDistribution) and isinstance(new, FloatDistribution):
        return FloatDistribution(min(old.low, new.low), max(old.high, new.high), log=new.log, step=new.step)
    return new


def _levels_of(choice: Choice, allowed: Sequence[Any]) -> Array:
    return np.array([choice.options.index(option) for option in allowed if option in choice.options], dtype=np.float64)
