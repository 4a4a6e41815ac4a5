"""The driver is killed, interrupted once and twice, and the disk is full: nothing stored is lost or there twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from filecmp import cmp
from pathlib import Path

import drivers
import pytest

from acmix_nas.errors import DiskError, StudyError
from acmix_nas.files import append_line, write_text

TRIALS = 3
BEGIN = ("--trials", TRIALS, "--epochs", 6, "--seed", 3, "--prune", "none")
GO_ON = ("--trials", TRIALS, "--resume")


@pytest.fixture(scope="module")
def images(once) -> Path:
    return once("few_images", lambda folder: drivers.make_images(folder / "store")) / "store"


@pytest.fixture(scope="module")
def whole(images, once) -> list[dict]:
    """The study that nothing happened to."""

    def search(folder: Path) -> None:
        assert drivers.ended(drivers.search(images, folder / "out", *BEGIN)) == 0

    return drivers.essence(once("undisturbed", search) / "out")


def checkpoints(out: Path) -> list[Path]:
    return list((out / "it" / "checkpoints").glob("[0-9]*.ckpt"))


@pytest.mark.nightly
def test_a_killed_driver_goes_on_as_if_nothing_had_happened(images, whole, tmp_path):
    out = tmp_path / "out"
    running = drivers.search(images, out, *BEGIN)
    for wait_for in (1, 2):
        drivers.until(lambda count=wait_for: len(drivers.lines(out)) >= count and checkpoints(out), running)
        running.kill()
        drivers.ended(running)
        stored = drivers.essence(out)
        running = drivers.search(images, out, *GO_ON)
    assert drivers.ended(running) == 0
    assert drivers.essence(out)[: len(stored)] == stored
    assert drivers.essence(out) == whole


@pytest.mark.nightly
@pytest.mark.parametrize("workers", [(), ("--executor", "process")])
def test_ctrl_c_once_keeps_the_epoch(images, whole, tmp_path, workers):
    out = tmp_path / "out"
    running = drivers.search(images, out, *BEGIN, *workers)
    drivers.until(lambda: checkpoints(out), running)
    assert not drivers.listening(running.pid)
    os.killpg(running.pid, signal.SIGINT)
    assert drivers.ended(running) == 130
    assert checkpoints(out)
    assert "--resume" in drivers.said(out)
    assert "Traceback" not in drivers.said(out)
    assert (out / "it" / "report.html").is_file()
    assert drivers.ended(drivers.search(images, out, *GO_ON)) == 0
    assert drivers.essence(out) == whole


@pytest.mark.nightly
def test_ctrl_c_twice_stops_now_and_keeps_what_is_stored(images, whole, tmp_path):
    out = tmp_path / "out"
    running = drivers.search(images, out, *BEGIN)
    drivers.until(lambda: drivers.lines(out), running)
    for number in (signal.SIGINT, signal.SIGTERM):  # two of a kind at once would be one
        os.kill(running.pid, number)
    assert drivers.ended(running) == 130
    stored = drivers.essence(out)
    assert 1 <= len(stored) < TRIALS
    assert "Traceback" not in drivers.said(out)
    assert drivers.ended(drivers.search(images, out, *GO_ON)) == 0
    assert drivers.essence(out)[: len(stored)] == stored
    assert drivers.essence(out) == whole


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 6 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(folder)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(line, capture_output=True).returncode:
        pytest.skip("a small disk needs Linux and root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Takes all that is free."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 512, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass
    return filler


@pytest.mark.nightly
def test_a_full_disk_ends_the_study_with_a_word_and_loses_nothing(images, whole, small_disk):
    out = small_disk / "out"
    says = small_disk.parent / "said.txt"
    line = ("search", "--space", drivers.SPACE, "--data", images, "--out", out, "--study", "it", "--device", "cpu")
    running = drivers.acmix(*line, *BEGIN, says=says)
    drivers.until(lambda: drivers.lines(out), running)
    filler = fill(small_disk)
    assert drivers.ended(running) == 1
    text = says.read_text()
    assert "Error: the study 'it' cannot be stored" in text
    assert "full" in text
    assert "Traceback" not in text
    filler.unlink()
    stored = drivers.essence(out)
    assert drivers.ended(drivers.acmix(*line, *GO_ON, says=says)) == 0
    assert drivers.essence(out)[: len(stored)] == stored
    assert drivers.essence(out) == whole


def test_a_full_disk_leaves_files_as_they_were(small_disk):
    report, lines = small_disk / "report.html", small_disk / "trials.jsonl"
    write_text(report, "old")
    append_line(lines, "first")
    filler = fill(small_disk)
    with pytest.raises(DiskError, match=r"full: report\.html cannot be written"):
        write_text(report, "new" * 10_000)
    with pytest.raises(DiskError, match="full"):
        append_line(lines, "second" * 10_000)
    assert report.read_text() == "old"
    assert lines.read_text() == "first\n"
    assert {file.name for file in small_disk.iterdir()} == {"filler", "report.html", "trials.jsonl"}
    filler.unlink()
    append_line(lines, "second")
    assert lines.read_text() == "first\nsecond\n"


def test_a_full_disk_costs_a_checkpoint_and_not_the_training(small_disk):
    import torch

    from acmix_nas.train.checkpoint import read_checkpoint, write_checkpoint

    file = small_disk / "0.ckpt"
    write_checkpoint(file, {"x": torch.zeros(3)}, {"key": {}, "epoch": 1})
    fill(small_disk)
    with pytest.raises(DiskError, match=r"0\.ckpt"):
        write_checkpoint(file, {"x": torch.ones(100_000)}, {"key": {}, "epoch": 2})
    assert read_checkpoint(file)[1] == {"key": {}, "epoch": 1}
    assert {entry.name for entry in small_disk.iterdir()} == {"0.ckpt", "filler"}


@pytest.mark.slow
def test_a_training_goes_on_without_its_checkpoints(small_disk, tmp_path):
    from study_pieces import SPACE, small_setting

    from acmix_nas.train import run_trial

    arch, setting = SPACE.build(SPACE.first["plain host"]), small_setting(images=16, epochs=2)
    fill(small_disk)
    facts = {"number": 0, "label": "x", "seeds": {"init": 0, "order": 0}}
    record = run_trial(arch, setting, **facts, checkpoint=small_disk / "0.ckpt")
    assert record.status == "complete"
    assert record.scores == run_trial(arch, setting, **facts).scores


def test_a_store_on_a_full_disk_goes_on_later(images, small_disk, monkeypatch):
    from acmix_nas.data import write, write_store
    from acmix_nas.errors import DataError

    plan = drivers.plan_images()
    monkeypatch.setattr(write, "_check_space", lambda *_: None)  # the disk fills up after that was asked
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - 150_000)
    with pytest.raises(DataError, match=r"is full.*continues where it stopped"):
        write_store(plan, small_disk / "store", chunk=8)
    filler.unlink()
    index = write_store(plan, small_disk / "store", chunk=8)
    for split in index.images:
        name = f"{split}.images.bin"
        assert cmp(small_disk / "store" / name, images / name, shallow=False), name


@pytest.mark.slow
def test_an_unwritable_report_says_what_is_stored(small_disk):
    from search_pieces import Curves, run, setting_of
    from study_pieces import new_study

    from acmix_nas.experiments.running import render_stored

    study = new_study(small_disk)
    run(study, Curves(setting_of(1)), trials=2)
    filler = fill(small_disk)
    with pytest.raises(DiskError, match=r"All 2 trials are stored; `acmix report .*/study` writes"):
        render_stored(study, study.records(), None)
    with pytest.raises(StudyError, match=r"cannot be stored: .*full.*--resume"):
        run(study, Curves(setting_of(1)), trials=9)
    stored = len(study.records())
    filler.unlink()
    run(type(study).open(study.folder), Curves(setting_of(1)), trials=9)
    again = type(study).open(study.folder)
    assert stored <= len(again.records()) == 9
    render_stored(again, again.records(), None)
