"""Training: a network and images become a score."""

from acmix_nas.train.checkpoint import ResumeError
from acmix_nas.train.recipe import Budget, RecipeError
from acmix_nas.train.training import DivergedError, Progress, Training
from acmix_nas.train.trial import Setting, run_trial

__all__ = [
    "Budget",
    "DivergedError",
    "Progress",
    "RecipeError",
    "ResumeError",
    "Setting",
    "Training",
    "run_trial",
]
