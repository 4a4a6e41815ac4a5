"""A wall clock that jumps by days: durations, limits of time and records are as if it had not."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import drivers
import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Yesterday, today, tomorrow, and again. */
static long jump(void) {
    static long calls;
    return (__sync_fetch_and_add(&calls, 1) % 3 - 1) * 86400;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int code = syscall(SYS_clock_gettime, which, now);
    if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE) now->tv_sec += jump();
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}
"""


@pytest.fixture(scope="module")
def jumping(tmp_path_factory) -> dict[str, str]:
    """The environment of a process whose wall clock jumps."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("a clock that jumps needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(SOURCE)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", folder / "clock.so", folder / "clock.c"], check=True, capture_output=True
    )
    return {**os.environ, "LD_PRELOAD": str(folder / "clock.so"), "OMP_NUM_THREADS": "1"}


def test_the_clock_of_this_test_jumps(jumping):
    code = "import time; print(max(abs(time.time() - time.time()) for _ in range(9)), abs(time.monotonic() - {}) < 60)"
    line = [sys.executable, "-c", code.format(time.monotonic())]
    apart, steady = subprocess.run(line, env=jumping, check=True, capture_output=True, text=True).stdout.split()
    assert float(apart) > 80_000
    assert steady == "True"


@pytest.mark.nightly
def test_a_search_does_not_notice(jumping, tmp_path):
    images, out = drivers.make_images(tmp_path / "images"), tmp_path / "out"
    line = [
        *(sys.executable, "-m", "acmix_nas", "search", "--space", drivers.SPACE, "--data", images, "--out", out),
        *("--study", "it", "--device", "cpu", "--trials", 2, "--epochs", 1, "--hours", 2, "--trial-minutes", 60),
    ]
    began_s = time.monotonic()
    done = subprocess.run([str(word) for word in line], env=jumping, capture_output=True, text=True, timeout=500)
    took_s = time.monotonic() - began_s
    assert done.returncode == 0, done.stderr
    records = [json.loads(text) for text in (out / "it" / "trials.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["complete"] * 2
    assert all(0 < record["seconds"] < took_s for record in records)
    assert all(datetime.fromisoformat(record["started"]) for record in records)


def test_no_duration_is_read_from_the_wall_clock():
    package = Path(__file__).parents[2] / "acmix_nas"
    found = [file for file in package.rglob("*.py") if "time.time()" in file.read_text(encoding="utf-8")]
    assert not found
