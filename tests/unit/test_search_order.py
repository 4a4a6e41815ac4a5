"""Several workers, a fixed order: whatever arrives first, and whatever is killed, the trials are the same."""

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_pieces import IN_MEMORY, Anyhow, essence, run, setting_of, steady, wide_space
from study_pieces import Onlooker, new_study

from acmix_nas.search import Stop
from acmix_nas.search.order import ResultOrder, default_order, lag_of
from acmix_nas.study.study import Study

EPOCHS, TRIALS = 9, 14
SPACE = wide_space()


@pytest.fixture(scope="module")
def setting():
    return setting_of(EPOCHS)


def study_of(out, name: str, workers: int, *, prune: str, storage: str | None = IN_MEMORY, lag: int | None = -1):
    lag = lag_of(workers, prunes=prune == "asha") if lag == -1 else lag
    return new_study(out, name, storage=storage, prune=prune, starts=3, lag=lag, objectives=("top1",))


def searched(out, setting, seed: int, *, workers: int, prune: str, curve=steady, lost: float = 0.0, **how):
    study = study_of(out, f"study{seed}", workers, prune=prune, **how)
    executor = Anyhow(setting, seed, workers=workers, curve=curve, lost=lost)
    run(study, executor, trials=TRIALS, space=SPACE)
    return study


@pytest.mark.parametrize("prune", ["asha", "none"])
@pytest.mark.parametrize("workers", [2, pytest.param(5, marks=pytest.mark.nightly)])
def test_what_arrives_first_changes_nothing(tmp_path, setting, workers, prune):
    studies = [searched(tmp_path, setting, seed, workers=workers, prune=prune, lost=0.05) for seed in range(3)]
    first = essence(studies[0])
    assert len(first) == TRIALS
    assert all(essence(study) == first for study in studies[1:])


def test_in_a_free_order_it_does(tmp_path, setting):
    studies = [searched(tmp_path, setting, seed, workers=5, prune="asha", lag=None) for seed in range(3)]
    assert any(essence(study) != essence(studies[0]) for study in studies)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("prune", ["asha", "none"])
def test_a_study_that_is_stopped_and_killed_goes_on_the_same(tmp_path, setting, prune, seed):
    whole = searched(tmp_path / "whole", setting, 99, workers=3, prune=prune)
    chance, study = random.Random(seed), study_of(tmp_path, "parts", 3, prune=prune, storage=None)
    for _ in range(3):
        crash_after(study, chance.randrange(3, 40))
        executor, stop = Anyhow(setting, chance.randrange(99), workers=3), Stop()
        with suppress(CrashError):
            run(study, executor, trials=TRIALS, space=SPACE, callbacks=Stopper(stop, chance.randrange(9)), stop=stop)
        study = Study.open(study.folder)
    run(study, Anyhow(setting, 7, workers=3), trials=TRIALS, space=SPACE)
    assert essence(study) == essence(whole)


class CrashError(Exception):
    """The machine went down."""


class Stopper(Onlooker):
    """Asks to stop when so many trials have ended."""

    def __init__(self, stop: Stop, after: int) -> None:
        super().__init__()
        self.stop, self.after = stop, after

    def end(self, record) -> None:
        super().end(record)
        if len(self.ended) > self.after:
            self.stop.reason = "enough"


def crash_after(study: Study, writes: int) -> None:
    left = [writes]

    def wrap(function):
        def write(*words, **options):
            left[0] -= 1
            if left[0] < 0:
                raise CrashError
            return function(*words, **options)

        return write

    for name in ("create_new_trial", "set_trial_user_attr", "set_trial_state_values"):
        setattr(study._storage, name, wrap(getattr(study._storage, name)))


def test_a_decision_knows_the_results_before_its_lag_and_no_other(tmp_path, setting):
    """Trial 2 scores otherwise: with 4 workers, lag 5, the first that may be another network is trial 7."""
    one = searched(tmp_path / "one", setting, 1, workers=4, prune="none")
    odd = one.records()[2].arch

    def curve(arch, epochs):
        return (0.99,) * epochs if arch == odd else steady(arch, epochs)

    other = searched(tmp_path / "other", setting, 2, workers=4, prune="none", curve=curve)
    archs, others = ([record.arch for record in study.records()] for study in (one, other))
    assert archs[: 2 + lag_of(4, prunes=False)] == others[: 2 + lag_of(4, prunes=False)]
    assert archs != others


@settings(max_examples=200)
@given(st.integers(1, 6), st.randoms(use_true_random=False), st.lists(st.booleans(), max_size=30))
def test_results_count_in_their_order_and_no_later_than_they_must(lag, chance, wants):
    """As a driver uses it: with jobs in training, any of which ends next; some decisions come to nothing."""
    order, training, counted = ResultOrder(lag), list[int](), list[int]()
    for wanted in wants:
        if order.may_decide():
            if wanted:
                number = order.decide()
                assert counted == list(range(len(counted)))
                assert len(counted) >= number - lag + 1
                training.append(number)
            elif (found := order.following()) is not None:
                counted.append(found)
        if training:
            number = training.pop(chance.randrange(len(training)))
            order.arrive(number, number)
        while (found := order.due()) is not None:
            counted.append(found)
    assert counted == list(range(len(counted)))


def test_with_one_worker_each_result_counts_at_once():
    order = ResultOrder(lag_of(1, prunes=True))
    for number in range(3):
        assert order.may_decide()
        assert order.decide() == number
        assert not order.may_decide()
        assert order.is_due(number)
        order.arrive(number, number)
        assert order.due() == number
    lags = [[lag_of(workers, prunes=prunes) for workers in (1, 2, 4, 8, 64)] for prunes in (False, True)]
    assert lags == [[1, 2, 5, 10, 80], [1, 4, 8, 16, 128]]
    orders = [[default_order(workers, prunes=prunes) for workers in (1, 2, 3)] for prunes in (False, True)]
    assert orders == [["fixed"] * 3, ["fixed", "fixed", "free"]]
