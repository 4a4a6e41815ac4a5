"""Search: an Optuna study over a space, networks trained as it proposes them."""

from acmix_nas.executors.callbacks import Callbacks
from acmix_nas.samplers import HammingGPSampler
from acmix_nas.samplers.make import SAMPLERS, make_sampler
from acmix_nas.search.run import search
from acmix_nas.study.stop import Stop
from acmix_nas.study.study import Study, load

__all__ = ["SAMPLERS", "Callbacks", "HammingGPSampler", "Stop", "Study", "load", "make_sampler", "search"]
