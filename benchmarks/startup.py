"""`acmix --help` against `python -c "import click"`: time from start to exit, interleaved, as a ratio.

Run: python benchmarks/startup.py
Claim: the median ratio is under 2.5.
"""

import shutil
import statistics
import subprocess
import sys
import time

ROUNDS = 30


def seconds(line: list[str]) -> float:
    """Wall-clock time of one run."""
    start = time.perf_counter()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Times both in turn and prints medians, quartiles and the ratio."""
    acmix = shutil.which("acmix")
    if acmix is None:
        sys.exit("acmix is not on PATH; install the package first.")
    lines = {"import click": [sys.executable, "-c", "import click"], "acmix --help": [acmix, "--help"]}
    for line in lines.values():
        seconds(line)
    rounds = [{name: seconds(line) for name, line in lines.items()} for _ in range(ROUNDS)]
    for name in lines:
        low, middle, high = statistics.quantiles([times[name] for times in rounds], n=4)
        print(f"{name:14} median {1000 * middle:6.1f} ms, quartiles {1000 * low:.1f} to {1000 * high:.1f} ms")
    ratios = [times["acmix --help"] / times["import click"] for times in rounds]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"ratio          median {middle:6.2f}, quartiles {low:.2f} to {high:.2f}, {ROUNDS} rounds")


if __name__ == "__main__":
    main()
