"""Ablation: a table of networks, each one change of a base, and their training with paired seeds. No torch here."""

from acmix_nas.experiments.ablation.table import Ablation, load_ablation, table_space

__all__ = ["Ablation", "load_ablation", "table_space"]
