"""What a network's score is thought to be without its luck: the posterior mean of the search's Gaussian process."""

from collections.abc import Sequence

import numpy as np
from optuna.trial import TrialState, create_trial

from acmix_nas.metrics import TOP1, Metric
from acmix_nas.record import TrialRecord
from acmix_nas.samplers.distributions import columns_of_space, search_space_of
from acmix_nas.samplers.gp.kernel import Features
from acmix_nas.samplers.gp.surrogate import ModelledObjective
from acmix_nas.samplers.make import encode
from acmix_nas.samplers.observations import Cache, Rows, problem_of
from acmix_nas.space import Space

LEAST = 10
"""Complete trials below which the scores themselves are used."""


def posterior_means(space: Space, records: Sequence[TrialRecord], metric: Metric = TOP1) -> dict[int, float]:
    """The posterior mean of every complete trial's score; their scores where there are fewer than `LEAST`.

    Args:
        space: The space of the search.
        records: Its records.
        metric: What the scores are.

    Returns:
        Number of the trial -> mean.
    """
    scores = {record.number: (record.score, record.arch) for record in records if record.score is not None}
    if len(scores) < LEAST:
        return {number: score for number, (score, _) in scores.items()}
    trials = []
    for score, arch in scores.values():
        params, distributions = encode(space, space.values(arch))
        state = TrialState.COMPLETE
        trials.append(
            create_trial(state=state, values=[metric.gain(score)], params=params, distributions=distributions)
        )
    columns = columns_of_space(space)
    search_space = search_space_of(space, columns)
    rows = np.array([columns.row(trial.params) for trial in trials])
    problem = problem_of(search_space, trials, rows, [1], {}, {}, Cache())
    features = Features.of(search_space.parameters, np.asarray(np.isnan(problem.rows).any(axis=0)))
    model = ModelledObjective(problem, problem.objectives[0], features, features.encode(problem.rows))
    means = model.smoothed(np.arange(len(problem.rows)), raw=True)
    return dict(zip(scores, (metric.gain(float(means[row])) for row in Rows.of(rows).place), strict=True))
