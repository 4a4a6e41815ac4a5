"""A sampler of a user's own, by its dotted path."""

import optuna
import pytest
from search_pieces import Curves, run, setting_of
from study_pieces import SPACE, new_study

from acmix_nas import plugins
from acmix_nas.errors import UsageError
from acmix_nas.experiments.search import SearchOptions, check_new
from acmix_nas.plugins import PluginError
from acmix_nas.samplers import make_sampler

LAB = """
import optuna

class Mine(optuna.samplers.RandomSampler):
    pass

class Seedless(optuna.samplers.BaseSampler):
    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, name, distribution):
        return None

class Other:
    pass
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """The package that_lab on the path, named by the user."""
    package = tmp_path / "path" / "that_lab"
    package.mkdir(parents=True)
    (package / "samplers.py").write_text(LAB)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(plugins, "_allowed", {"that_lab.samplers"})


@pytest.mark.usefixtures("lab")
def test_a_search_asks_it(tmp_path):
    name = "that_lab.samplers:Mine"
    study = new_study(tmp_path, sampler=name)
    run(study, Curves(setting_of(1)), trials=7)
    assert [record.label for record in study.records()][-3:] == [name] * 3
    assert len({record.arch_id for record in study.records()}) == 7
    again = new_study(tmp_path, "again", sampler=name)
    run(again, Curves(setting_of(1)), trials=5)
    run(type(again).open(again.folder), Curves(setting_of(1)), trials=7)
    assert [record.arch_id for record in again.records()] == [record.arch_id for record in study.records()]


@pytest.mark.usefixtures("lab")
def test_it_serves_any_study_of_optuna():
    study = optuna.create_study(sampler=make_sampler("that_lab.samplers:Mine", 0))
    study.optimize(lambda trial: trial.suggest_int("x", 0, 3), n_trials=4)
    assert sorted(trial.params["x"] for trial in study.trials) == [0, 1, 2, 3]


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("that_lab.samplers:Seedless", UsageError, "takes no seed"),
        ("that_lab.samplers:Other", UsageError, "is no optuna.samplers.BaseSampler"),
        ("that_lab.samplers:Nothing", PluginError, "Nothing"),
        ("elsewhere.samplers:Mine", PluginError, "elsewhere"),
        ("abacus", UsageError, "my_lab.samplers:Mine"),
    ],
)
def test_one_that_does_not_fit_is_refused_before_a_study_is_made(name, kind, said):
    with pytest.raises(kind, match=said) as caught:
        check_new(SearchOptions(space="swin_t", sampler=name), SPACE)
    assert caught.value.exit_code == 2
