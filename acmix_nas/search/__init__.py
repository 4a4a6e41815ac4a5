"""Search: an Optuna study over a space, networks trained as it proposes them."""

from acmix_nas.search.hamming_gp import HammingGPSampler
from acmix_nas.search.run import Watcher, search
from acmix_nas.search.sampler import SAMPLERS, make_sampler
from acmix_nas.search.stop import Stop
from acmix_nas.search.study import Study, load

__all__ = ["SAMPLERS", "HammingGPSampler", "Stop", "Study", "Watcher", "load", "make_sampler", "search"]
