"""Optuna samplers over choices that depend on one another; usable in any Optuna study."""

from acmix_nas.samplers.hamming_gp import HammingGPSampler
from acmix_nas.samplers.make import SAMPLERS, make_sampler

__all__ = ["SAMPLERS", "HammingGPSampler", "make_sampler"]
