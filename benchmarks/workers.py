"""Two workers against one, a thread each: trials an hour of the same search, in turns.

Usage: python benchmarks/workers.py [--trials 8] [--repeats 2]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Prints a JSON object: trials an hour with one and with two workers, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--images", type=int, default=2000)
    asked = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(asked.repeats):
        for workers, found in rates.items():
            found.append(trials_an_hour(workers, asked.trials, asked.images))
    one, two = (statistics.median(found) for found in rates.values())
    print(json.dumps({"trials_an_hour": {"1": one, "2": two}, "ratio": two / one, "runs": rates}))


def trials_an_hour(workers: int, trials: int, images: int) -> float:
    """The rate from the first trial's start to the last one's end: start-up and report left out."""
    with tempfile.TemporaryDirectory() as out:
        line = [
            *(sys.executable, "-m", "acmix_nas", "search", "--space", "swin_t", "--proxy", "cpu"),
            *("--trials", str(trials), "--epochs", "1", "--proxy-images", str(images), "--out", out),
            *("--study", "timed", "--executor", "process", "--workers", str(workers), "--device", "cpu"),
        ]
        env = {**os.environ, "OMP_NUM_THREADS": str(workers)}  # divided among the workers: one thread each
        subprocess.run(line, env=env, check=True, capture_output=True)
        lines = (Path(out) / "timed" / "log.txt").read_text(encoding="utf-8").splitlines()
    # The first trial of each worker also waits for the worker to start.
    ends = [_seconds(text) for text in lines if " complete: top1" in text]
    return 3600 * (len(ends) - workers) / (ends[-1] - ends[workers - 1])


def _seconds(line: str) -> float:
    moment, milliseconds = line[:23].split(",")
    return time.mktime(time.strptime(moment, "%Y-%m-%d %H:%M:%S")) + int(milliseconds) / 1000


if __name__ == "__main__":
    main()
