"""Search: an Optuna study over a space, networks trained as it proposes them."""

from acmix_nas.samplers import HammingGPSampler
from acmix_nas.samplers.make import SAMPLERS, make_sampler
from acmix_nas.search.run import Watcher, search
from acmix_nas.study import Stop, Study, load

__all__ = ["SAMPLERS", "HammingGPSampler", "Stop", "Study", "Watcher", "load", "make_sampler", "search"]
