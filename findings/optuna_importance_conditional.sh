#!/usr/bin/env bash
# Optuna's default importance gives most of a parent's share to the parameter that exists only under one of its values.
#
# Versions: optuna 5.0.0, numpy 2.4.6; Python 3.11.
# Expected: "combine" decides between 0 and 10, and "kernel" changes the value by .01 where it exists, so nearly all
#   importance belongs to "combine".
# Behaviour: PED-ANOVA (the default of get_param_importances) compares the distribution of a parameter in the best trials with
#   its distribution in all trials. A conditional parameter is missing in the trials of the other branch. Its mere existence
#   predicts a good trial, so it takes the share of its parent.
# Output seen:
#   combine 0.320, kernel 0.680; share of the variance that combine explains: 1.0000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install optuna==5.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(trial):
    if trial.suggest_categorical("combine", ["attention", "both"]) == "attention":
        return 0.0
    return 10.0 + 0.01 * trial.suggest_categorical("kernel", [3, 5, 7])


study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
study.optimize(objective, n_trials=200)
shares = optuna.importance.get_param_importances(study)
values = np.array([trial.value for trial in study.trials])
groups = np.array([trial.params["combine"] for trial in study.trials])
means = {group: values[groups == group].mean() for group in set(groups)}
explained = np.var([means[group] for group in groups]) / np.var(values)
print(f"combine {shares['combine']:.3f}, kernel {shares['kernel']:.3f}; "
      f"share of the variance that combine explains: {explained:.4f}")
sys.exit(not (explained > 0.999 and shares["kernel"] > 0.5 > shares["combine"]))
PYTHON
