"""What a trial costs beside its training: a study of 1,000 trials and 30 choices in which training takes no time.

Usage: python benchmarks/bookkeeping.py [--trials 1000]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from search_pieces import Curves, setting_of
from study_pieces import SPACE, Onlooker, new_study

from acmix_nas.search import search
from acmix_nas.space import Choice, Space


def main() -> None:
    """Prints a JSON object: milliseconds a trial, over all and over the last hundred, by pruning."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    asked = parser.parse_args()
    print(json.dumps({prune: measure(prune, asked.trials) for prune in ("none", "asha")}))


def measure(prune: str, trials: int) -> dict[str, float]:
    """Runs a random search whose networks are scored at once."""
    space, setting, clock = untied(), setting_of(9), Clock()
    with tempfile.TemporaryDirectory() as out:
        study = new_study(Path(out), starts=trials, prune=prune)
        search(study, space, setting, trials=trials, callbacks=clock, executor=Curves(setting))
    gaps = [1000 * (end - start) for start, end in zip(clock.begun_s, clock.begun_s[1:], strict=False)]
    return {
        "choices": len(space.choices),
        "median_ms": statistics.median(gaps),
        "mean_ms": statistics.fmean(gaps),
        "last_hundred_ms": statistics.fmean(gaps[-100:]),
        "in_all_s": clock.begun_s[-1] - clock.begun_s[0],
    }


def untied() -> Space:
    """Swin-T with 30 choices."""
    choices = [
        Choice(f"stages.{stage}.blocks.{block}.{field}", options, ordered=field != "combine")
        for stage, depth in enumerate(SPACE.depths)
        for block in range(depth)
        for field, options in (("conv_kernel", (3, 5, 7)), ("head_dim", (16, 32, 48)), ("combine", ("half", "learned")))
    ]
    usual = {"combine": "half", "head_dim": 32, "conv_kernel": 3, "conv_impl": "groupconv"}
    fixed = tuple({**fields, **usual} for fields in SPACE.fixed)
    return replace(SPACE, choices=tuple(choices[:30]), fixed=fixed, first={})


class Clock(Onlooker):
    """Notes when each trial begins or goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun_s: list[float] = []

    def begin(self, number, label, arch) -> None:
        """Notes the time."""
        self.begun_s.append(time.perf_counter())
        super().begin(number, label, arch)


if __name__ == "__main__":
    main()
