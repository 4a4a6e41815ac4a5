"""Between Optuna's parameters and the rows of `acmix_nas.samplers.gp`."""

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

from acmix_nas.samplers.gp import Domain, Parameter
from acmix_nas.samplers.gp.conditions import Gates
from acmix_nas.samplers.gp.parameter import DIGITS, Array, Mask
from acmix_nas.space import Choice, Space, Values


class Axes:
    """The parameters of a search in the order of a row's columns.

    Args:
        distributions: Name -> distribution; a parameter comes after those that decide whether it is asked for.

    Attributes:
        distributions: The same.
        parameters: The same as axes.
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
        one = self.distributions.get(name)
        if one is None:
            return False
        try:
            return bool(one._contains(one.to_internal_repr(value)))
        except ValueError:
            return False

    def params(self, row: Array) -> dict[str, Any]:
        """The parameters of a row, leaving out those that are NaN."""
        return {
            name: from_level(one, float(level))
            for (name, one), level in zip(self.distributions.items(), row, strict=True)
            if level == level
        }


def axes_of_space(space: Space) -> Axes:
    """The choices of a space: nominal ones as categories, ordered ones as integers over the index."""
    return Axes({choice.name: distribution(choice) for choice in space.choices})


def distribution(choice: Choice) -> BaseDistribution:
    """How Optuna is told of a choice."""
    return IntDistribution(0, len(choice.options) - 1) if choice.ordered else CategoricalDistribution(choice.options)


def domain_of_space(space: Space, axes: Axes, held: Array | None = None) -> Domain:
    """Rows of a space; what is active is what its `when` says."""
    if not any(choice.when for choice in space.choices):
        return Domain(axes.parameters, None, held)
    column = {choice.name: index for index, choice in enumerate(space.choices)}
    rules = [
        [(column[name], _levels_of(space.choices[column[name]], allowed)) for name, allowed in choice.when.items()]
        for choice in space.choices
    ]

    def active(full: Array) -> Mask:
        mask = np.ones(full.shape, dtype=bool)
        for index, rule in enumerate(rules):
            for gate, levels in rule:
                # np.isin says the same, and takes many times as long for so few levels.
                mask[:, index] &= mask[:, gate] & (full[:, gate, None] == levels).any(axis=1)
        return mask

    return Domain(axes.parameters, active, held)


def values_of_row(space: Space, bare: Array) -> Values:
    """The values that a bare row stands for."""
    return {
        choice.name: choice.options[int(level)]
        for choice, level in zip(space.choices, bare, strict=True)
        if level == level
    }


def merged_order(patterns: Iterable[Sequence[str]]) -> list[str]:
    """All names of several sequences, each after those that come before it in them."""
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


def domain_of_trials(axes: Axes, bare: Array, complete: Mask, held: Array | None = None) -> Domain:
    """Rows of a study whose parameters are only known as they were asked for."""
    asked = bare[complete] if complete.any() else bare
    if not np.isnan(asked).any():
        return Domain(axes.parameters, None, held)
    return Domain(axes.parameters, Gates.learnt(axes.parameters, asked), held)


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
        return Parameter(name=name, size=len(one.choices), kin=one.choices)
    assert isinstance(one, IntDistribution | FloatDistribution)
    kin = (type(one).__name__, one.low, one.high, one.log)
    if one.step is None:
        return Parameter(name=name, size=None, ordered=True, kin=kin)
    size = round((one.high - one.low) / one.step) + 1
    return Parameter(name=name, size=size, ordered=True, low=one.low, step=one.step, log=one.log, kin=kin)


def wider(old: BaseDistribution, new: BaseDistribution) -> BaseDistribution:
    """Both ranges of a parameter whose range changes from trial to trial."""
    if isinstance(old, IntDistribution) and isinstance(new, IntDistribution):
        low, high = min(old.low, new.low), max(old.high, new.high)
        return IntDistribution(low, high, log=new.log, step=new.step)
    if isinstance(old, FloatDistribution) and isinstance(new, FloatDistribution):
        return FloatDistribution(min(old.low, new.low), max(old.high, new.high), log=new.log, step=new.step)
    return new


def _levels_of(choice: Choice, allowed: Sequence[Any]) -> Array:
    return np.array([choice.options.index(option) for option in allowed if option in choice.options], dtype=np.float64)
