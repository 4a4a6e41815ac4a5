"""The life of a study: killed, stopped, shared, and resumed as if nothing had happened."""

import os
import random
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import fork_server
import pytest
import tiny_search
from search_pieces import Curves, essence, run, setting_of
from study_pieces import SPACE, Onlooker, new_study, small_setting

from acmix_nas.errors import StudyError
from acmix_nas.experiments.setup import check_version
from acmix_nas.search import Stop, search
from acmix_nas.study.folder import STOP, at_work
from acmix_nas.study.study import Study
from acmix_nas.train import Progress

TRIALS, KILLS = 6, 10
fork_server.preload("tiny_search")  # torch is imported once, not by every process that is killed


def start(out: Path, name: str, workers: int = 1) -> BaseProcess:
    """The small search in a process of its own, at the moment when it begins to work."""
    ours, theirs = fork_server.SERVER.Pipe()
    running = fork_server.start(tiny_search.main, theirs, out, name, TRIALS, workers)
    theirs.close()
    with ours:
        assert ours.recv() == "ready"
    return running


def end(running: BaseProcess) -> int:
    """Waits for it; returns its exit code."""
    running.join(400)
    code = running.exitcode
    assert code is not None
    running.close()
    return code


@pytest.mark.nightly
def test_a_study_killed_ten_times_ends_as_one_never_stopped(tmp_path):
    """Past the random starts, with pruning: the same networks in the same order, with the same curves."""
    assert end(start(tmp_path, "whole")) == 0
    chance = random.Random(0)
    for _ in range(KILLS):
        running = start(tmp_path, "parts")
        running.join(chance.uniform(0.05, 1.2))
        running.kill()
        end(running)
    assert end(start(tmp_path, "parts")) == 0
    one, other = Study.open(tmp_path / "whole"), Study.open(tmp_path / "parts")
    assert len(one.records()) == TRIALS
    assert [r.arch_id for r in other.records()] == [r.arch_id for r in one.records()]
    assert essence(other) == essence(one)
    assert {record.label for record in one.records()} >= {"random", "hamming-gp"}
    assert not (one.folder / "checkpoints").exists()
    assert not (other.folder / "checkpoints").exists()


@pytest.mark.nightly  # test_search_order.py has any order of arrival, losses and stops in this process
def test_a_study_of_two_workers_repeats_also_where_it_is_killed(tmp_path):
    for name in ("one", "other"):
        assert end(start(tmp_path, name, workers=2)) == 0
    chance = random.Random(1)
    for _ in range(3):
        running = start(tmp_path, "parts", workers=2)
        running.join(chance.uniform(1.0, 4.0))
        running.kill()
        end(running)
    assert end(start(tmp_path, "parts", workers=2)) == 0
    one, other, parts = (
        [{**row, "environment": None} for row in essence(Study.open(tmp_path / name))]
        for name in ("one", "other", "parts")
    )
    assert len(one) == TRIALS
    assert other == one
    assert parts == one


@pytest.mark.slow
def test_two_drivers_on_one_study_are_refused(tmp_path):
    running = start(tmp_path, "busy")
    try:
        with pytest.raises(StudyError, match="another process"), at_work(tmp_path / "busy"):
            pass
    finally:
        running.kill()
        end(running)
    with at_work(tmp_path / "busy"):
        pass


class Stopper(Onlooker):
    """Asks to stop at the first step after an epoch: by a file in the study's folder, or by a signal."""

    def __init__(self, epoch: int, file: Path | None = None) -> None:
        super().__init__()
        self.epoch, self.file, self.asked = epoch, file, False

    def step(self, number, progress) -> None:
        if len(progress.scores) >= self.epoch and not self.asked:
            self.asked = True
            if self.file is None:
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                self.file.touch()


@pytest.mark.parametrize("by_file", [True, False])
def test_a_stop_keeps_the_running_epoch(tmp_path, by_file, monkeypatch):
    monkeypatch.setattr("acmix_nas.study.stop.LOOK_EVERY_S", 0.0)
    setting = small_setting(images=32, epochs=3)
    study = new_study(tmp_path)
    stop = Stop(study.folder)
    callbacks = Stopper(1, study.folder / STOP if by_file else None)
    with stop.hearing_signals():
        search(study, SPACE, setting, trials=3, callbacks=callbacks, stop=stop)
    assert stop.reason == ("acmix stop" if by_file else "SIGTERM")
    assert [trial.state.name for trial in study.trials()] == ["RUNNING"]
    whole = new_study(tmp_path, "whole")
    search(whole, SPACE, setting, trials=1, callbacks=Onlooker())
    again = Onlooker()
    steps = []
    again.step = lambda number, progress: steps.append(len(progress.scores))  # type: ignore[method-assign]
    (study.folder / STOP).unlink(missing_ok=True)
    search(study, SPACE, setting, trials=1, callbacks=again, stop=Stop(study.folder))
    assert steps == [2], "only the last epoch was still to be trained"
    assert essence(study) == essence(whole)


def test_a_second_signal_interrupts_at_once():
    stop = Stop()
    before = signal.getsignal(signal.SIGHUP)
    with stop.hearing_signals():
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.check() == "SIGHUP"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGHUP) == before


def test_another_version_is_refused(tmp_path):
    header = new_study(tmp_path).header
    with pytest.raises(StudyError, match=r"unknown version, this is.*--warm-start"):
        check_version(header)


def test_a_torn_checkpoint_costs_only_time(tmp_path):
    setting = small_setting(images=32, epochs=1)
    study, whole = new_study(tmp_path), new_study(tmp_path, "whole")
    study.checkpoint(0).parent.mkdir()
    study.checkpoint(0).write_bytes(b"half of it")
    for each in (study, whole):
        search(each, SPACE, setting, trials=1, callbacks=Onlooker())
    assert essence(study) == essence(whole)


def test_more_trials_later_go_on_where_the_study_ended(tmp_path):
    study, setting = new_study(tmp_path), setting_of(1)
    run(study, Curves(setting), trials=3)
    first = [record.arch_id for record in study.records()]
    run(Study.open(study.folder), Curves(setting), trials=5)
    assert [record.arch_id for record in study.records()][:3] == first
    assert len(study.records()) == 5


def test_others_see_a_running_study(tmp_path, monkeypatch):
    """Its page is written again every few minutes, and `acmix status` reads what is in training."""
    from acmix_nas.executors.callbacks import Callbacks
    from acmix_nas.experiments import monitor
    from acmix_nas.experiments.monitor import Monitor, TimeLeft
    from acmix_nas.experiments.status import read_running

    monkeypatch.setattr(monitor, "RENDERED_EVERY_S", 0.0)
    monkeypatch.setattr(monitor, "WRITTEN_EVERY_S", 0.0)
    study, stop = new_study(tmp_path), Stop()
    running = Monitor(Callbacks(), study, stop, TimeLeft(3))
    search(study, SPACE, small_setting(images=32, epochs=2), trials=1, callbacks=running, stop=stop)
    assert (study.folder / "report.html").is_file()
    running.begin(7, "random", study.records()[0].arch)
    running.step(7, Progress(scores=[0.5], step=3, steps=9, epochs=3))
    assert read_running(study.folder)["trials"] == [{"number": 7, "label": "random", "epoch": 2, "epochs": 3}]
    running.leave()
    assert read_running(study.folder) == {}
