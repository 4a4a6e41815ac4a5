"""Search: an Optuna study over a space, one trained network at a time."""

from acmix_nas.search.hamming_gp import HammingGPSampler
from acmix_nas.search.run import Watcher, search
from acmix_nas.search.sampler import SAMPLERS, make_sampler
from acmix_nas.search.study import Study, load

__all__ = ["SAMPLERS", "HammingGPSampler", "Study", "Watcher", "load", "make_sampler", "search"]
