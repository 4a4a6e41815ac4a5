"""Pruning of whole studies, with known learning curves instead of training."""

from dataclasses import replace

import pytest
from optuna.trial import TrialState
from search_pieces import IN_MEMORY, Curves, essence, fickle, pruned_study, run, setting_of, steady, wide_space
from study_pieces import Onlooker, new_study

from acmix_nas.front import front
from acmix_nas.metrics import COSTS, TOP1
from acmix_nas.report.trials import pruning_text, saved_epochs
from acmix_nas.search.rungs import is_protected
from acmix_nas.study.study import Study

EPOCHS = 9
RANDOM = wide_space()


@pytest.fixture(scope="module")
def setting():
    return setting_of(EPOCHS)


def final(record) -> float:
    return steady(record.arch, EPOCHS)[-1]


def test_most_epochs_are_saved_and_the_best_is_found(tmp_path, setting):
    study, onlooker = pruned_study(tmp_path, objectives=("top1",), starts=27), Onlooker()
    run(study, Curves(setting), trials=27, space=RANDOM, callbacks=onlooker)
    records = study.records()
    pruned = [record for record in records if record.status == "pruned"]
    complete = [record for record in records if record.status == "complete"]
    assert len(pruned) + len(complete) == 27
    assert {len(record.scores) for record in pruned} <= {1, 3}
    assert max(map(final, records)) == max(map(final, complete))
    saved, whole = saved_epochs(records)
    assert whole == 27 * EPOCHS
    assert 0.4 < saved / whole < 0.8
    assert "saved" in pruning_text(records)[0]
    assert sorted(onlooker.ended) == list(range(27))


def test_pruned_trials_are_pruned_in_the_storage_and_a_tenth_is_protected(tmp_path, setting):
    study = pruned_study(tmp_path, objectives=("top1",), starts=40)
    run(study, Curves(setting), trials=40, space=RANDOM)
    states = [trial.state for trial in study.trials()]
    assert TrialState.RUNNING not in states
    assert [record.status == "pruned" for record in study.records()] == [state == TrialState.PRUNED for state in states]
    protected = [number for number in range(40) if is_protected(study.header.seed, number)]
    assert protected
    assert all(states[number] == TrialState.COMPLETE for number in protected)


def test_networks_that_the_space_names_first_are_never_pruned(tmp_path, setting):
    study = pruned_study(tmp_path)
    run(study, Curves(setting, lambda arch, epochs: (0.0,) * epochs), trials=8)
    by_label = {record.label: record.status for record in study.records()}
    assert by_label["plain host"] == by_label["paper"] == "complete"


def test_with_costs_what_is_cheap_and_no_better_still_goes_on(tmp_path, setting):
    study = pruned_study(tmp_path, starts=60)
    run(study, Curves(setting), trials=60, space=RANDOM)
    whole = [replace(record, status="complete", scores=steady(record.arch, EPOCHS)) for record in study.records()]
    true_front = {record.number for record in front(whole, (TOP1, COSTS["macs"]))}
    kept = {record.number for record in study.records() if record.status == "complete"}
    assert len(true_front & kept) >= 0.8 * len(true_front)
    assert len(kept) < 40


@pytest.mark.slow
def test_a_rung_that_does_not_foretell_the_end_is_switched_off(tmp_path, setting):
    study, onlooker = pruned_study(tmp_path, objectives=("top1",), starts=200), Onlooker()
    run(study, Curves(setting, fickle), trials=110, space=RANDOM, callbacks=onlooker)
    assert any("switched off" in note for note in onlooker.notes)
    late = [record.status for record in study.records()[-20:]]
    assert late == ["complete"] * 20


@pytest.mark.slow
def test_a_good_rung_stays_on(tmp_path, setting):
    study, onlooker = pruned_study(tmp_path, objectives=("top1",), starts=200), Onlooker()
    run(study, Curves(setting), trials=110, space=RANDOM, callbacks=onlooker)
    assert not any("switched" in note for note in onlooker.notes)


def test_several_workers_prune_too(tmp_path, setting):
    study, executor = pruned_study(tmp_path, objectives=("top1",), starts=27), Curves(setting, workers=4)
    run(study, executor, trials=27, space=RANDOM)
    assert len(study.records()) == 27
    assert {record.status for record in study.records()} == {"complete", "pruned"}
    best = max(study.records(), key=final)
    assert best.status == "complete"


class CrashError(Exception):
    """The machine went down."""


def crashing(study: Study, writes: int) -> None:
    """Makes the storage of a study fail after so many writes."""
    left = [writes]

    def wrap(function):
        def write(*words, **options):
            if not left[0]:
                raise CrashError
            left[0] -= 1
            return function(*words, **options)

        return write

    storage = study._storage
    for name in ("create_new_trial", "set_trial_user_attr", "set_trial_state_values"):
        setattr(storage, name, wrap(getattr(storage, name)))


@pytest.mark.slow
def test_a_crash_at_any_write_changes_nothing(tmp_path, setting):
    """Past the random starts, and with rungs: whichever write is the last, the study goes on to the same trials."""
    whole = pruned_study(tmp_path, "whole", starts=4)
    run(whole, Curves(setting), trials=6, space=RANDOM)
    assert {record.status for record in whole.records()} == {"complete", "pruned"}
    for writes in (0, 1, 2, 9, 16, 20):
        parts = pruned_study(tmp_path, f"parts{writes}", starts=4, storage=None)
        crashing(parts, writes)
        with pytest.raises(CrashError):
            run(parts, Curves(setting), trials=6, space=RANDOM)
        again = Study.open(parts.folder)
        run(again, Curves(setting), trials=6, space=RANDOM)
        assert essence(again) == essence(whole)


def test_without_pruning_nothing_is_paused(tmp_path, setting):
    study, onlooker = new_study(tmp_path, storage=IN_MEMORY), Onlooker()
    run(study, Curves(setting), trials=6, callbacks=onlooker)
    assert onlooker.paused == []
    assert {record.status for record in study.records()} == {"complete"}
