"""Proxy training: a network and images become a score."""

from acmix_nas.train.loop import Progress, train
from acmix_nas.train.recipe import Budget
from acmix_nas.train.trial import Setting, run_trial

__all__ = ["Budget", "Progress", "Setting", "run_trial", "train"]
