"""What a search's trials chose, and what each option goes along with: the difference of mean scores, its interval."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance

from acmix_nas.errors import SpaceError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.space import Space, Value, Values
from acmix_nas.space.stored import space_of

LEAST = 8
"""Least trials that say anything of the choices."""
CONFIDENCE = 0.95

Trials = Sequence[tuple[Values, float]]
"""Values of the active choices, and score, of each trial."""


def chosen(header: StudyHeader, records: Sequence[TrialRecord]) -> tuple[Space, Trials] | None:
    """A search's space and what its complete trials chose; None without a space, or of fewer than `LEAST` trials.

    A shared score is no result of its own and is left out.
    """
    if header.kind != "search" or "space" not in header.settings:
        return None
    space, trials = space_of(header), list[tuple[Values, float]]()
    for record in records:
        if record.score is None or record.shared_with is not None:
            continue
        try:
            trials.append((space.values(record.arch), record.score))
        except SpaceError:  # brought into the folder by hand
            continue
    return (space, trials) if len(trials) >= LEAST else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """An option of a choice against its other options.

    Attributes:
        choice: Name of the choice.
        option: One of its options.
        trials: Trials that have it.
        mean: Their mean score.
        gain: By how much it is above the mean of the trials in which the choice is active with another option.
        half_width: Half of Welch's 95 % interval of the gain; None where either side has fewer than two trials, or
            neither has any spread.
    """

    choice: str
    option: Value
    trials: int
    mean: float
    gain: float
    half_width: float | None


def effects(space: Space, trials: Trials, order: Iterable[str] = ()) -> tuple[Effect, ...]:
    """The effect of every option that some active trials have and some have not.

    Args:
        space: The space.
        trials: What they chose.
        order: Choices that come first, in this order; the others follow in that of the space.
    """
    known = {choice.name: choice for choice in space.choices}
    rows = []
    for name in dict.fromkeys([*order, *known]):
        active = [(values[name], score) for values, score in trials if name in values]
        for option in known[name].options:
            with_it = [score for value, score in active if value == option]
            without = [score for value, score in active if value != option]
            if with_it and without:
                gain, half = fmean(with_it) - fmean(without), half_width(with_it, without)
                mean, count = fmean(with_it), len(with_it)
                rows.append(Effect(choice=name, option=option, trials=count, mean=mean, gain=gain, half_width=half))
    return tuple(rows)


def half_width(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Half of the 95 % interval of the difference of two means whose variances may differ (Welch 1947).

    SciPy's `ttest_ind(...).confidence_interval()` gives the same, after half a second of loading.
    """
    if min(len(one), len(other)) < 2:
        return None
    from scipy.special import stdtrit

    parts = [variance(values) / len(values) for values in (one, other)]
    if sum(parts) <= 0:
        return None
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (one, other), strict=True)
    )
    deviations = float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
    return deviations * sqrt(sum(parts))
