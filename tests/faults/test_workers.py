"""Workers that hang, take too much, talk nonsense or die: the study goes on, and says what happened."""

import itertools
import json
import mmap
import multiprocessing
import os
import threading
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import bad_workers
import pytest
from search_pieces import Curves, run, setting_of
from study_pieces import SPACE, Onlooker, new_study, small_setting

from acmix_nas.data import load_splits
from acmix_nas.errors import RecordError, UsageError
from acmix_nas.executors import (
    Outcome,
    Place,
    TrialLimits,
    Work,
    _channel,
    _watchdog,
    make_executor,
    process,
    read_progress,
    write_progress,
)
from acmix_nas.executors._channel import Channel
from acmix_nas.executors._watchdog import (
    MAX_INTERVAL_S,
    MAX_SILENCE_S,
    Watchdog,
    WatchedWorker,
    fair_share,
    resident_bytes,
)
from acmix_nas.executors.placement import place_workers, trial_limits
from acmix_nas.report import render
from acmix_nas.search import search
from acmix_nas.train import Progress

GIGABYTE = 1 << 30
LIMITS = TrialLimits(seconds=6, memory=GIGABYTE)


def work_of(setting, limits: TrialLimits) -> Work:
    load = partial(load_splits, None, input_size=28, train_images=10, seed=0, with_report=False)
    return replace(Work.of(setting, load=load, source=None), limits=limits)


@pytest.mark.slow
def test_each_fault_costs_one_trial_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "run_worker", bad_workers.work)
    setting, study = small_setting(images=10), new_study(tmp_path)
    executor, callbacks = make_executor("process", work_of(setting, LIMITS), [Place(1)]), Onlooker()
    search(study, SPACE, setting, trials=len(bad_workers.FAULTS), callbacks=callbacks, executor=executor)
    records = {bad_workers.FAULTS[record.number]: record for record in study.records()}
    assert len(study.records()) == len(records) == len(bad_workers.FAULTS)
    failed = {fault: record.error for fault, record in records.items() if record.status == "failed"}
    assert set(failed) == {"hang", "devour", "stammer"}
    assert "--trial-minutes" in failed["hang"]
    assert "--trial-minutes" in failed["stammer"]
    assert "--trial-memory" in failed["devour"]
    assert study.trials()[bad_workers.FAULTS.index("flood")].user_attrs["workers_lost"] == 1
    assert "workers_lost" not in study.trials()[bad_workers.FAULTS.index("last_words")].user_attrs
    render(study.folder, study.header, study.records())
    assert "--trial-memory" in (study.folder / "report.md").read_text()
    assert "--trial-memory" in (study.folder / "report.html").read_text()


def test_a_trial_over_a_limit_fails_and_keeps_its_scores(tmp_path):
    class Slow(Curves):
        def wait(self, on_step) -> list[Outcome]:
            if self.jobs[0].number == 1 and self.jobs[0].until is None:
                job = self.jobs.pop()
                self.done.append((job.number, job.until))
                return [Outcome(job=job, failed="too long")]
            return super().wait(on_step)

    study = new_study(tmp_path)
    executor = Slow(setting_of(1))
    run(study, executor, trials=3)
    assert [record.status for record in study.records()] == ["complete", "failed", "complete"]
    assert study.records()[1].error == "too long"
    assert [number for number, _ in executor.done] == [0, 1, 2]
    again = Slow(setting_of(1))
    run(study, again, trials=3)
    assert not again.done


def test_limits_choose_workers_that_can_be_ended():
    who = {"device": "cpu", "workers": None, "gpus": None, "workers_per_gpu": 1}
    assert place_workers(executor=None, limits=TrialLimits(seconds=60), **who)[0] == "process"
    assert trial_limits(2, 8e9) == TrialLimits(seconds=120, memory=8_000_000_000)
    with pytest.raises(UsageError, match="--executor process"):
        make_executor("serial", work_of(small_setting(images=10), LIMITS), [Place(1)])


def look(
    monkeypatch: pytest.MonkeyPatch, watched: WatchedWorker, limits: TrialLimits, *, turn_s: float, looks: int
) -> None:
    """Watches over a worker until it is ended, or was looked at so often; a look comes `turn_s` after the last."""
    enough, seen = threading.Event(), itertools.count()

    def monotonic() -> float:
        number = next(seen)  # the first is read before the first look
        if watched.kill_reason is not None or number > looks:
            enough.set()
        return number * turn_s

    monkeypatch.setattr(_watchdog, "CHECK_EVERY_S", 0.001)
    monkeypatch.setattr(_watchdog, "time", SimpleNamespace(monotonic=monotonic))
    with Watchdog(limits) as watch:
        watch.add(watched)
        assert enough.wait(60)


def test_the_watch_counts_only_time_that_it_was_awake(monkeypatch):
    killed = []
    watched = WatchedWorker(pid=1, kill=lambda: killed.append(watched.spent_s), is_training=True, earlier_s=50.0)
    look(monkeypatch, watched, TrialLimits(seconds=60), turn_s=1000 * MAX_INTERVAL_S, looks=99)
    assert killed == [11 * MAX_INTERVAL_S], "ended once, when 50 s and what it was seen to take were over 60 s"
    assert watched.is_final


def test_a_silent_worker_is_ended_and_its_trial_retried(monkeypatch):
    watched = WatchedWorker(pid=1, kill=lambda: None, is_training=True, silent_s=MAX_SILENCE_S)
    look(monkeypatch, watched, TrialLimits(), turn_s=0.1, looks=99)
    assert "sent nothing" in (watched.kill_reason or "")
    assert not watched.is_final


def test_a_worker_that_has_no_trial_is_not_timed(monkeypatch):
    watched = WatchedWorker(pid=1, kill=lambda: None, silent_s=2 * MAX_SILENCE_S)
    look(monkeypatch, watched, TrialLimits(seconds=0.1), turn_s=1.0, looks=9)
    assert watched.kill_reason is None
    assert watched.silent_s > 2 * MAX_SILENCE_S


def test_memory_is_what_a_process_filled():
    size = 64 << 20
    before = resident_bytes(os.getpid())
    with mmap.mmap(-1, size) as held:  # pages of its own: an object may find room in what was freed before
        held.write(b"\1" * size)
        after = resident_bytes(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before > 0.9 * size
    assert resident_bytes(2**22 + 1) is None
    assert 2 * fair_share(2) <= fair_share(1) + 2


def test_the_watch_is_a_thread_that_ends():
    gone = threading.Event()
    with Watchdog(TrialLimits(seconds=0.0)) as watch:
        watch.add(WatchedWorker(pid=1, kill=gone.set, is_training=True))
        assert gone.wait(10)
    assert not watch._thread.is_alive()


@pytest.mark.parametrize(
    "wrong",
    [{"scores": ["0.5"]}, {"scores": [float("nan")]}, {"step": -1}, {"steps": 1.5}, {"epochs": None}, {"earlier": "x"}],
)
def test_a_summary_is_checked(wrong):
    said = write_progress(Progress(scores=[0.5], step=3, steps=9, epochs=3))
    assert read_progress(said).scores == [0.5]
    with pytest.raises(RecordError):
        read_progress({**said, **wrong})


def test_code_of_the_users_that_raises_or_exits_fails_its_trial(tmp_path, monkeypatch):
    from acmix_nas.arch import Arch, Mixer
    from acmix_nas.train import run_trial

    package = tmp_path / "their_lab"
    package.mkdir()
    text = "from acmix_nas.operators.conv import build as usual, count\n\n\ndef build(mixer, **site):\n    {}\n"
    for name, fault in [("raises", "1 / 0"), ("leaves", "raise SystemExit(5)")]:
        (package / f"{name}.py").write_text(text.format(fault))
    monkeypatch.syspath_prepend(tmp_path)
    setting = small_setting(images=10)
    proxy = replace(setting.proxy, depths=(1, 1, 1, 1))
    for name, reason in [("raises", "ZeroDivisionError"), ("leaves", "SystemExit: 5")]:
        arch = Arch(host="resnet", stages=((Mixer(operator=f"their_lab.{name}"),),) * 4)
        record = run_trial(arch, replace(setting, proxy=proxy), number=0, label="theirs", seeds={"init": 0, "order": 0})
        assert record.status == "failed"
        assert reason in (record.error or "")


def test_a_line_is_read_without_waiting_for_its_end():
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        channel, other = Channel(ours), Channel(theirs)
        os.write(theirs.fileno(), b'{"kind": "st')
        assert list(channel.lines()) == []
        os.write(theirs.fileno(), b'ep"}\n{"kind": "two"}\n{')
        assert [json.loads(text)["kind"] for text in channel.lines()] == ["step", "two"]
        channel.send("job", number=1)
        assert other.receive() == {"kind": "job", "number": 1}
        theirs.close()
        with pytest.raises((EOFError, OSError)):
            list(channel.lines())


def test_a_line_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr(_channel, "MAX_BYTES", 1000)
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        os.write(theirs.fileno(), b"x" * 1001)
        with pytest.raises(_channel.ProtocolError, match="1000 bytes"):
            list(Channel(ours).lines())
