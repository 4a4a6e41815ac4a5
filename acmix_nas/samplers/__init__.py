"""Optuna samplers over choices that depend on one another; usable in any Optuna study."""

from acmix_nas.samplers.hamming_gp import HammingGPSampler

__all__ = ["HammingGPSampler"]
