"""Optimizer steps a second of proxy training on one thread, of this checkout against another.

Run: python benchmarks/steps.py --against FOLDER [--rounds 3] [--steps 6] [--precision fp32]
FOLDER is the root of the other checkout, as `git worktree add --detach FOLDER a97df8f` makes one. Measured are 8
networks of swin_t, plain host and paper among them, and 4 of each other space, at their proxy `cpu` on embedded images.
Both checkouts train in turns, each round in a fresh interpreter, which keeps what it frees where the checkout's workers
do. A ratio is that of two times of a network in the same round; a spread is the quartiles over networks and rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from math import exp, log
from pathlib import Path

import numpy as np
import torch

from acmix_nas import Arch, Space, build_model, load_space
from acmix_nas.data import load_splits
from acmix_nas.train import Budget, Training

COUNTS = {"swin_t": 8, "resnet26": 4, "san10": 4, "pvt_tiny": 4}
WARM_UP = 2
ROOT = Path(__file__).parent.parent


def archs(space: Space, count: int) -> list[Arch]:
    """The space's first networks, then seeded draws."""
    generator, found = np.random.default_rng(0), [space.build(values) for values in space.first.values()]
    while len(found) < count:
        found.append(space.build(space.sample(lambda choice: choice.options[generator.integers(len(choice.options))])))
    return found[:count]


def step_seconds(space: Space, arch: Arch, steps: int, precision: str) -> float:
    """Median time of an optimizer step, after some to warm up."""
    proxy = space.proxies["cpu"]
    images = proxy.batch_size * (WARM_UP + steps)
    splits = load_splits(
        None, input_size=proxy.input_size, train_images=images, seed=0, with_report=False, search_images=30
    )
    budget = Budget(
        epochs=1,
        images=images,
        batch_size=proxy.batch_size,
        learning_rate=proxy.learning_rate,
        precision=precision,
    )
    torch.manual_seed(0)
    model = build_model(
        proxy.shrink(arch),
        num_classes=len(splits.classes),
        in_chans=splits.in_chans,
        img_size=proxy.input_size,
        patch_size=proxy.patch_size,
        width=proxy.width,
    )
    moments = [time.perf_counter()]
    Training(model, splits, budget, on_step=lambda _: moments.append(time.perf_counter())).epoch()
    times = [after - before for before, after in pairwise(moments)]
    return statistics.median(times[WARM_UP:])


def measure(steps: int, precision: str) -> list[float]:
    """Step times of all networks, in this process."""
    torch.set_num_threads(1)
    with suppress(ImportError, AttributeError):
        import_module("acmix_nas.machine").keep_freed_memory()
    spaces = {name: load_space(name) for name in COUNTS}
    return [
        step_seconds(space, arch, steps, precision)
        for name, space in spaces.items()
        for arch in archs(space, COUNTS[name])
    ]


def measured_by(root: Path, steps: int, precision: str) -> list[float]:
    """The same in an interpreter that takes the package from a checkout."""
    line = [sys.executable, str(Path(__file__)), "--steps", str(steps), "--precision", precision, "--child"]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, env=env, check=True, capture_output=True, text=True)
    times: list[float] = json.loads(done.stdout.splitlines()[-1])
    return times


def main() -> None:
    """Prints the step times in milliseconds and their ratio for each space, then over all networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(measure(asked.steps, asked.precision)))
        return
    if asked.against is None:
        parser.error("--against names the root of another checkout")
    rounds = [
        [measured_by(root, asked.steps, asked.precision) for root in (asked.against, ROOT)] for _ in range(asked.rounds)
    ]
    names = [name for name, count in COUNTS.items() for _ in range(count)]
    for name in [*COUNTS, "all"]:
        places = [place for place, of in enumerate(names) if name in (of, "all")]
        theirs, ours = ([statistics.median(both[side][p] for both in rounds) for p in places] for side in (0, 1))
        ratios = [both[0][p] / both[1][p] for both in rounds for p in places]
        low, _, high = statistics.quantiles(ratios, n=4)
        mean = exp(statistics.fmean(map(log, ratios)))
        times = f"{1e3 * statistics.median(theirs):6.1f} ms there, {1e3 * statistics.median(ours):6.1f} ms here"
        print(f"{name:9} {times}; {mean:.2f} times the steps a second ({low:.2f} to {high:.2f})", flush=True)


if __name__ == "__main__":
    main()
