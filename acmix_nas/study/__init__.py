"""A study on disk: its folder, its Optuna storage, its header and records; the one truth."""

from acmix_nas.study.stop import Stop
from acmix_nas.study.study import Study, load

__all__ = ["Stop", "Study", "load"]
