"""Ablation: a table of networks, each one change of a base, and their training with paired seeds.

A table is read without torch; `run` trains it.
"""

from typing import TYPE_CHECKING

from acmix_nas.experiments.ablation.table import Ablation, AblationOptions, load_ablation, table_space
from acmix_nas.experiments.networks import find_arch

if TYPE_CHECKING:
    from acmix_nas.executors.callbacks import ExperimentCallbacks
    from acmix_nas.experiments.running import StudyResult

__all__ = ["Ablation", "AblationOptions", "load_ablation", "run", "table_space"]


def run(options: AblationOptions, callbacks: "ExperimentCallbacks | None" = None) -> "StudyResult":
    """Trains the rows of a table with paired seeds, and renders it.

    Args:
        options: What is asked for, by the names of the command's options.
        callbacks: What the caller is shown while it runs.

    Raises:
        SpaceError: The table's file is wrong, or a row cannot be built.
        StudyError: The study cannot be made, or not be resumed in this way, or a cell to take was made otherwise.
        DataError: The images cannot be read.
    """
    table, base, host = options.table, options.base, options.host
    if base is None or base in table_space(table, host=host).first:
        ablation = load_ablation(table, base=base, host=host)
    else:  # one from elsewhere
        ablation = load_ablation(table, base=find_arch(base, options.out).arch, host=host)
    if not options.resume:
        options = options.with_budget(ablation.budget)

    # What follows loads torch, which takes seconds: a wrong file is reported before.
    from acmix_nas.experiments.ablation.cells import run_table

    return run_table(ablation, options, callbacks)
