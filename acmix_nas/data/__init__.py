"""Labelled images for training: sources, the three disjoint splits, and the subsets that proxies train on."""

from acmix_nas.data.splits import Images, Splits, load_splits

__all__ = ["Images", "Splits", "load_splits"]
