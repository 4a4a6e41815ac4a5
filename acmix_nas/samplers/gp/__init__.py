"""Bayesian optimisation over choices, in numpy alone: rows of levels in, the next row out. No optuna here.

A row holds a level for each parameter: the index of a nominal option or of a step of an ordered one, or a position in
[0, 1] on a continuous axis. A full row has a level everywhere; in a bare row the parameters without effect are NaN.
"""

from acmix_nas.samplers.gp.parameter import Parameter
from acmix_nas.samplers.gp.propose import Quantity, Task, fresh, propose, stream
from acmix_nas.samplers.gp.search_space import Domain, unseen

__all__ = ["Domain", "Parameter", "Quantity", "Task", "fresh", "propose", "stream", "unseen"]
