"""Trials that several processes train together: the scores of one, and no rank waits forever for another."""

import os
import signal
import time
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import gettempdir

import pytest
import torch
from study_pieces import SPACE, Onlooker, new_study, small_setting

from acmix_nas.data import load_splits
from acmix_nas.errors import StudyError, UsageError
from acmix_nas.executors import Place, TrialLimits, Work, make_executor
from acmix_nas.executors._watchdog import _children
from acmix_nas.executors.jobs import Halted, HaltRequest
from acmix_nas.executors.placement import place_workers
from acmix_nas.experiments.repeat import compare, repeat, work_of
from acmix_nas.search import Stop, search
from acmix_nas.train import Progress

IMAGES = 48
LOAD = partial(load_splits, None, input_size=28, train_images=IMAGES, seed=0, with_report=False, at_most=True)
TOGETHER = Place(2, world_size=2)
WHO = {"device": "cuda", "executor": None, "workers": None, "gpus": None, "workers_per_gpu": 1}


def setting_with(epochs: int, **changes):
    setting = small_setting(images=IMAGES, epochs=epochs)
    budget = replace(setting.budget, batch_size=16, **changes)
    return replace(setting, splits=LOAD(), budget=budget, proxy=replace(setting.proxy, images=IMAGES))


def run_together(study, setting, *, trials, callbacks=None, name="process", **facts):
    work = replace(Work.of(setting, load=LOAD, source=None), limits=TrialLimits())
    executor = make_executor(name, work, [TOGETHER])
    search(study, SPACE, setting, trials=trials, callbacks=callbacks or Onlooker(), executor=executor, **facts)
    return study.records()


def descendants(pid: int) -> list[int]:
    return [each for child in _children(pid) for each in (child, *descendants(child))]


def workers_of(pid: int) -> list[int]:
    """The processes that the servers of `multiprocessing` below one forked, and their children."""
    servers = [child for child in _children(pid) if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return [each for server in servers for each in descendants(server)]


def test_gpus_are_dealt_out_in_groups(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    name, places = place_workers(**WHO, gpus_per_trial=2)
    assert (name, [(place.gpu, place.world_size) for place in places]) == ("process", [("0,1", 2), ("2,3", 2)])
    name, places = place_workers(**{**WHO, "gpus": "1,3"}, gpus_per_trial=2)
    assert (name, [(place.gpu, place.world_size) for place in places]) == ("process", [("1,3", 2)])
    name, places = place_workers(**{**WHO, "executor": "ray"}, gpus_per_trial=4)
    assert [(place.gpus, place.world_size) for place in places] == [(4, 4)]


def test_wrong_groups_of_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(UsageError, match="does not divide the 4 GPUs"):
        place_workers(**WHO, gpus_per_trial=3)
    with pytest.raises(UsageError, match="--workers-per-gpu 2 parts"):
        place_workers(**{**WHO, "workers_per_gpu": 2}, gpus_per_trial=2)
    with pytest.raises(UsageError, match="--gpus-per-trial 2: this study trains on the CPU"):
        place_workers(**{**WHO, "device": "cpu"}, gpus_per_trial=2)
    with pytest.raises(UsageError, match="--executor process"):
        place_workers(**{**WHO, "executor": "serial"}, gpus_per_trial=4)


def test_a_job_halts_after_its_running_epoch():
    request = HaltRequest()
    request.check(Progress(scores=[]))
    request.is_set = True
    request.check(Progress(scores=[]))
    request.check(Progress(scores=[]))
    with pytest.raises(Halted):
        request.check(Progress(scores=[0.1]))


@pytest.mark.slow
def test_two_ranks_train_what_one_process_does(tmp_path):
    setting = setting_with(2)
    alone = new_study(tmp_path, "alone")
    search(alone, SPACE, setting, trials=2, callbacks=Onlooker())
    records = run_together(new_study(tmp_path, "together"), setting, trials=2)
    for one, two in zip(alone.records(), records, strict=True):
        assert two.status == "complete"
        assert two.arch == one.arch
        assert two.losses == pytest.approx(one.losses, rel=1e-4)
        for seen, expected in zip(chain(*two.norms), chain(*one.norms), strict=True):
            assert seen == (expected and pytest.approx(expected, rel=1e-3))
        assert two.environment["processes"] == 2
    assert not (tmp_path / "together" / "checkpoints").exists()
    work = work_of(alone.header, records[1])
    again = repeat(records[1], work)
    assert compare(records[1], again).equal


@pytest.mark.nightly
def test_a_rank_that_is_killed_costs_at_most_the_running_epoch(tmp_path):
    class Killer(Onlooker):
        killed = False
        seen: list[int]

        def step(self, number, progress) -> None:
            self.seen = [*getattr(self, "seen", []), len(progress.scores)]
            if not self.killed and len(progress.scores) >= 2:
                self.killed = True
                os.kill(workers_of(os.getpid())[-1], signal.SIGKILL)

    callbacks, study = Killer(), new_study(tmp_path)
    (record,) = run_together(study, setting_with(5), trials=1, callbacks=callbacks)
    assert callbacks.killed
    assert (record.status, len(record.scores)) == ("complete", 5)
    assert study.trials()[0].user_attrs["workers_lost"] == 1
    assert not {0, 1} & set(callbacks.seen[callbacks.seen.index(2) + 1 :])
    assert not workers_of(os.getpid())
    assert not list(Path(gettempdir()).glob("acmix-ranks-*"))


@pytest.mark.slow
def test_a_trial_that_fails_in_the_ranks_does_not_hold_up_the_next(tmp_path):
    records = run_together(new_study(tmp_path), setting_with(2, learning_rate=1e30), trials=2)
    assert [record.status for record in records] == ["failed", "failed"]
    assert all("the loss is" in record.error for record in records)


@pytest.mark.nightly
def test_ranks_stop_after_the_same_epoch_and_go_on_from_it(tmp_path):
    setting, stop, study = setting_with(4), Stop(), new_study(tmp_path)

    class Impatient(Onlooker):
        def step(self, number, progress) -> None:
            if progress.scores:
                stop.reason = "enough"

    run_together(study, setting, trials=1, callbacks=Impatient(), stop=stop)
    (trial,) = study.running()
    assert study.checkpoint(trial.number).is_file()
    assert not study.records()
    (record,) = run_together(study, setting, trials=1)
    alone = new_study(tmp_path, "alone")
    search(alone, SPACE, setting, trials=1, callbacks=Onlooker())
    assert record.losses == pytest.approx(alone.records()[0].losses, rel=1e-4)


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_its_ranks_along(tmp_path):
    executor = make_executor("process", Work.of(setting_with(1), load=LOAD, source=None), [TOGETHER])
    with executor:
        end_s = time.monotonic() + 60
        while len(workers_of(os.getpid())) < 3 and time.monotonic() < end_s:
            executor.wait(lambda number, progress: None)
        workers = workers_of(os.getpid())
        assert len(workers) == 3  # two ranks and who stands between them and the driver
    end_s = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < end_s
        time.sleep(0.1)


@pytest.mark.slow
def test_missing_images_on_a_rank_end_the_study_with_a_reason(tmp_path):
    setting = setting_with(1)
    work = Work.of(setting, load=partial(load_splits, "/not/here", **LOAD.keywords), source=None)
    executor = make_executor("process", work, [TOGETHER])
    with pytest.raises(StudyError, match="there is no folder"):
        search(new_study(tmp_path), SPACE, setting, trials=1, callbacks=Onlooker(), executor=executor)
