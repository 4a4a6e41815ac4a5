"""What the trials of a search chose, and how important Optuna takes each choice to be."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from acmix_nas.errors import SpaceError
from acmix_nas.metrics import Direction
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.samplers.make import encode
from acmix_nas.space import Space, Values
from acmix_nas.space.stored import space_of

LEAST = 8
"""Trials below which nothing is told of choices."""
BEST_SHARE = 0.1
BEST_LEAST = 5
"""Trials that are compared with all: the best tenth, and no fewer than Optuna advises."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What trials with a score of their own chose.

    Attributes:
        space: The space as the study has it.
        trials: Values of the active choices and score of each trial.
    """

    space: Space
    trials: tuple[tuple[Values, float], ...]


def chosen(header: StudyHeader, records: Sequence[TrialRecord]) -> Chosen | None:
    """The choices of a search's complete trials; None of a study without a space, or of fewer than `LEAST` trials.

    A shared score is no result of its own and is left out.
    """
    if header.kind != "search" or "space" not in header.settings:
        return None
    space, trials = space_of(header), []
    for record in records:
        if record.score is None or record.shared_with is not None:
            continue
        try:
            trials.append((space.values(record.arch), record.score))
        except SpaceError:  # brought into the folder by hand
            continue
    return Chosen(space, tuple(trials)) if len(trials) >= LEAST else None


def ped_anova(found: Chosen, direction: Direction = "maximize") -> dict[str, float]:
    """Choice -> its share of all importance for the score by Optuna's default; empty where no choice tells anything.

    PED-ANOVA (Watanabe et al. 2023) for conditional parameters (condPED-ANOVA, 2026): the Pearson divergence of a
    choice's options among the best trials from those among all. A choice is judged within the trials in which it is
    active, weighted by how many of the best those are. So a choice that hangs on another can take nearly all, and
    leave little to the one that decides: `acmix_nas.search.shares` gives each its due.
    """
    study = optuna.create_study(direction=direction)
    encoded = [(*encode(found.space, values), score) for values, score in found.trials]
    study.add_trials(
        [create_trial(params=params, distributions=ranges, value=score) for params, ranges, score in encoded]
    )
    best = max(BEST_SHARE, BEST_LEAST / len(found.trials))
    with warnings.catch_warnings():  # a choice that is rarely active: its row tells the number of its trials
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=best)
        shares = get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()} if total > 0 else {}
