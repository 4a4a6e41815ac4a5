"""`acmix search | head -1`: whoever reads goes away, the study goes on and its log says so."""

import os

import drivers
import pytest
import warm_commands


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["both", "stdout", "stderr"])
def test_a_search_whose_output_nobody_reads_goes_on(tmp_path, streams):
    images, read, unread = drivers.make_images(tmp_path / "images"), tmp_path / "read", tmp_path / "unread.txt"
    os.mkfifo(read)
    line = ("search", "--space", drivers.SPACE, "--data", images, "--out", tmp_path / "out", "--study", "it")
    ends = {"out": unread, "err": read} if streams == "stderr" else {"out": read, "err": unread}
    if streams == "both":
        ends = {"out": read}
    running = warm_commands.start(*line, "--device", "cpu", "--trials", 3, "--epochs", 1, **ends)
    with read.open() as pipe:
        if streams != "stdout":  # results come last
            assert pipe.readline()
    assert drivers.ended(running) == 0
    assert len(drivers.lines(tmp_path / "out")) == 3
    assert (tmp_path / "out" / "it" / "report.html").is_file()
    if streams != "stdout":
        log = (tmp_path / "out" / "it" / "log.txt").read_text()
        assert "nobody reads" in log
        assert log.count("nobody reads") <= 2
