"""Bayesian optimisation over choices, in numpy and SciPy alone: rows of levels in, the next row out. No optuna here.

A row holds a level for each parameter: the index of a nominal option or of a step of an ordered one, or a position in
[0, 1] of a continuous one. A parameter is active in a row if its level has an effect there. A full row has a level
everywhere; in a bare row the levels of inactive parameters are NaN.
"""

from acmix_nas.samplers.gp.problem import Problem, Quantity
from acmix_nas.samplers.gp.propose import draw_unseen, generator, propose
from acmix_nas.samplers.gp.search_space import Parameter, SearchSpace, find_unseen

__all__ = ["Parameter", "Problem", "Quantity", "SearchSpace", "draw_unseen", "find_unseen", "generator", "propose"]
