"""Executors: the same trials whoever trains, and workers that die or talk nonsense do no harm."""

import os
import signal
import time
from functools import partial

import pytest
import stray_workers
import torch
from search_pieces import Curves, essence, run, setting_of
from study_pieces import SPACE, Onlooker, new_study, small_setting

from acmix_nas.data import load_splits
from acmix_nas.errors import StudyError, UsageError
from acmix_nas.executors import Job, Place, Work, make_executor, names, process
from acmix_nas.executors._worker import read_job, write_job
from acmix_nas.executors.placement import chosen_device, place_workers
from acmix_nas.search import Stop, search
from acmix_nas.search.run import MOST_LOST

IMAGES = 40


def loaded():
    return partial(load_splits, None, input_size=28, train_images=IMAGES, seed=0, with_report=False, search_images=50)


def work_of(setting, load=None) -> Work:
    return Work.of(setting, load=load or loaded(), source=None)


def test_a_job_survives_the_way_to_a_worker(tmp_path):
    arch = SPACE.build(SPACE.first["paper"])
    job = Job(
        number=3, label="paper", arch=arch, seeds={"init": 1, "order": 2}, checkpoint=tmp_path / "3.ckpt", until=2
    )
    assert read_job(write_job(job)) == job


def test_executors_are_files():
    assert {"serial", "process"} <= set(names())
    with pytest.raises(UsageError, match="one worker"):
        make_executor("serial", work_of(small_setting(images=10)), [Place(1), Place(1)])


def test_a_lost_worker_costs_one_more_try_and_three_cost_the_trial(tmp_path):
    study, setting = new_study(tmp_path), setting_of(1)
    executor = Curves(setting, lose=(1, *[2] * MOST_LOST))
    run(study, executor, trials=4)
    records = study.records()
    assert [record.status for record in records] == ["complete", "complete", "failed", "complete"]
    assert records[2].error == "killed; 3 times in all"
    assert [number for number, _ in executor.done] == [0, 1, 1, 2, 2, 2, 3]


def test_who_trains_where():
    assert place_workers(device="cpu", executor=None, workers=None, gpus=None, workers_per_gpu=1) == (
        "serial",
        [Place(torch.get_num_threads())],
    )
    name, places = place_workers(device="cpu", executor=None, workers=3, gpus="none", workers_per_gpu=1)
    assert (name, len(places)) == ("process", 3)
    assert sum(place.threads for place in places) <= max(3, torch.get_num_threads())
    with pytest.raises(UsageError, match="--gpus 0"):
        place_workers(device="cpu", executor=None, workers=None, gpus="0", workers_per_gpu=1)
    assert chosen_device("auto", "none") == "cpu"
    with pytest.raises(UsageError, match="none"):
        chosen_device("cuda", "none")


def test_each_gpu_gets_a_worker_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-ab,6")
    ask = partial(place_workers, device="cuda", executor=None, workers=None)
    name, places = ask(gpus=None, workers_per_gpu=1)
    assert (name, [place.gpu for place in places]) == ("process", ["4", "GPU-ab", "6"])
    assert [place.gpu for place in ask(gpus="2,0", workers_per_gpu=2)[1]] == ["6", "6", "4", "4"]
    assert ask(gpus="0", workers_per_gpu=1)[0] == "serial"
    assert ask(gpus="1", workers_per_gpu=1)[0] == "process"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [place.gpu for place in ask(gpus="all", workers_per_gpu=1)[1]] == ["0", "1", "2"]
    for wrong in ("3", "-1", "x", "0,"):
        with pytest.raises(UsageError, match="--gpus"):
            ask(gpus=wrong, workers_per_gpu=1)
    with pytest.raises(UsageError, match="--workers is for CPUs"):
        place_workers(device="cuda", executor=None, workers=2, gpus=None, workers_per_gpu=1)


@pytest.mark.slow
def test_one_worker_process_gives_the_trials_of_this_process(tmp_path):
    setting = small_setting(images=IMAGES, epochs=2)
    setting = setting_with(setting)
    one, other = new_study(tmp_path, "serial"), new_study(tmp_path, "process")
    search(one, SPACE, setting, trials=4, callbacks=Onlooker())
    executor, onlooker = make_executor("process", work_of(setting), [Place(1)]), Onlooker()
    search(other, SPACE, setting, trials=4, callbacks=onlooker, executor=executor)
    assert [number for number, _ in onlooker.begun] == onlooker.ended == [0, 1, 2, 3]
    assert without_environment(other) == without_environment(one)
    assert other.records()[0].environment["threads"] == 1


@pytest.mark.slow
def test_two_workers_train_what_one_does_and_leave_no_checkpoint(tmp_path):
    setting = setting_with(small_setting(images=IMAGES, epochs=2))
    study = new_study(tmp_path)
    executor = make_executor("process", work_of(setting), [Place(1), Place(1)])
    search(study, SPACE, setting, trials=6, callbacks=Onlooker(), executor=executor)
    assert [record.status for record in study.records()] == ["complete"] * 6
    assert not (study.folder / "checkpoints").exists()
    alone = new_study(tmp_path, "alone")
    search(alone, SPACE, setting, trials=2, callbacks=Onlooker())
    assert [record.scores for record in alone.records()] == [record.scores for record in study.records()][:2]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_its_trial_goes_on(tmp_path):
    setting = setting_with(small_setting(images=IMAGES, epochs=3))
    executor = process.ProcessExecutor(work_of(setting), [Place(1)])

    class Killer(Onlooker):
        killed = False

        def step(self, number, progress) -> None:
            if not self.killed and len(progress.scores) == 1:
                self.killed = True
                os.kill(executor._workers[0]._process.pid, signal.SIGKILL)

    study = new_study(tmp_path)
    search(study, SPACE, setting, trials=1, callbacks=Killer(), executor=executor)
    (record,) = study.records()
    assert record.status == "complete"
    assert study.trials()[0].user_attrs["workers_lost"] == 1
    whole = new_study(tmp_path, "whole")
    search(whole, SPACE, setting, trials=1, callbacks=Onlooker())
    assert record.scores == whole.records()[0].scores


@pytest.mark.slow
def test_a_stop_lets_workers_finish_their_epoch(tmp_path):
    setting = setting_with(small_setting(images=IMAGES, epochs=50))
    study, stop = new_study(tmp_path), Stop()

    class Impatient(Onlooker):
        def step(self, number, progress) -> None:
            stop.reason = "enough"

    executor = make_executor("process", work_of(setting), [Place(1)])
    search(study, SPACE, setting, trials=1, callbacks=Impatient(), executor=executor, stop=stop)
    assert [trial.state.name for trial in study.trials()] == ["RUNNING"]
    assert study.checkpoint(0).is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("main", "reason"),
    [
        (stray_workers.silent_death, "signal 9"),
        (stray_workers.babble, "malformed message"),
        (stray_workers.impostor, "trial 99"),
        (stray_workers.half_a_record, "malformed message"),
    ],
)
def test_a_bad_worker_fails_its_trial_and_not_the_study(tmp_path, monkeypatch, main, reason):
    monkeypatch.setattr(process, "run_worker", main)
    setting = small_setting(images=10)
    study = new_study(tmp_path)
    executor = make_executor("process", work_of(setting), [Place(1)])
    search(study, SPACE, setting, trials=1, callbacks=Onlooker(), executor=executor)
    (record,) = study.records()
    assert record.status == "failed"
    assert reason in record.error


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_study_with_a_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "run_worker", stray_workers.failed_start)
    setting = small_setting(images=10)
    executor = make_executor("process", work_of(setting), [Place(1)])
    with pytest.raises(StudyError, match="code 7"):
        search(new_study(tmp_path), SPACE, setting, trials=1, callbacks=Onlooker(), executor=executor)


@pytest.mark.parametrize("error", [EOFError(), ConnectionRefusedError("gone")])
def test_a_server_that_is_killed_while_a_worker_starts_is_started_again(monkeypatch, error):
    real, failures, given = process.start, [error] * 2, []

    def start(target, connection, *values, **options):
        given.append(connection)
        if failures:
            raise failures.pop()
        return real(stray_workers.failed_start, connection, *values, **options)

    monkeypatch.setattr(process, "start", start)
    monkeypatch.setattr(process, "DYING_S", 0.0)
    with make_executor("process", work_of(small_setting(images=10)), [Place(1)]) as executor:
        assert len(executor._workers) == 1
    assert len({id(connection) for connection in given}) == 3
    assert all(connection.closed for connection in given)
    failures = [error] * 3
    with pytest.raises(StudyError, match=r"no worker can be started.*--executor serial"):
        make_executor("process", work_of(small_setting(images=10)), [Place(1)]).__enter__()


@pytest.mark.slow
def test_images_that_a_worker_cannot_read_are_reported(tmp_path):
    setting = small_setting(images=10)
    load = partial(loaded(), train_images=10**9)
    executor = make_executor("process", work_of(setting, load), [Place(1)])
    with pytest.raises(StudyError, match="1000000000"):
        search(new_study(tmp_path), SPACE, setting, trials=1, callbacks=Onlooker(), executor=executor)


def setting_with(setting):
    """The setting with the images that workers load."""
    from dataclasses import replace

    return replace(setting, splits=loaded()())


def without_environment(study) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "environment"} for row in essence(study)]


def test_a_stop_after_some_hours(monkeypatch):
    stop = Stop(hours=1)
    assert stop.check() is None
    later_s = time.monotonic() + 3601
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    assert stop.check() == "the time is up"
