"""Search: an Optuna study over a space, one trained network at a time."""

from acmix_nas.search.run import Watcher, search
from acmix_nas.search.study import Study, load

__all__ = ["Study", "Watcher", "load", "search"]
