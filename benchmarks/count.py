"""Counting architectures of search_spaces/swin_t.yaml by arithmetic, against fvcore's trace of the built network.

Run: python benchmarks/count.py [--archs 3000] [--traced 10]
Claim: on one core `acmix_nas.cost.count` counts at least 2,000 random architectures a second, and at least 1,000 for
each that fvcore traces; its numbers are those of the built module: parameters as held, multiply-adds as torch's counter
sees them on the meta device and as fvcore does, less norms.
The architectures are new to it when they are counted. A round counts one in both ways; a ratio is that of two times of
the same round, a spread the quartiles. fvcore's time is that of its trace, without the building of the network.
"""

import argparse
import random
import time
from collections.abc import Callable

import torch
from operators import spread

from acmix_nas import Arch, build_model, load_space
from acmix_nas.cost import count
from acmix_nas.cost.counters import count_fvcore, macs_torch

SPACE, SIZE, GROUP = "swin_t", 224, 100


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock time of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def report_rate(name: str, group_seconds: list[float]) -> None:
    """Prints a rate over all groups, and the spread over them."""
    total = len(group_seconds) * GROUP / sum(group_seconds)
    rates = [GROUP / duration for duration in group_seconds]
    print(f"{name:14} {total:.0f} architectures a second; in groups of {GROUP} {spread(rates)}", flush=True)


def round_seconds(arch: Arch) -> tuple[float, float]:
    """Time of our count and of fvcore's, after all counts of the built module are found to be the same."""
    model = build_model(arch, img_size=SIZE).eval()
    cost, traced = count(arch, SIZE), count_fvcore(model, SIZE)
    assert cost.params == sum(parameter.numel() for parameter in model.parameters())
    assert cost.macs == macs_torch(model, SIZE) == traced.macs - traced.norms
    return seconds(lambda: count(arch, SIZE)), seconds(lambda: count_fvcore(model, SIZE))


def main() -> None:
    """Prints rates, then ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=3000)
    parser.add_argument("--traced", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, chance = load_space(SPACE), random.Random(0)
    values = [space.sample(lambda choice: chance.choice(choice.options)) for _ in range(options.archs)]
    groups = [values[start : start + GROUP] for start in range(0, len(values), GROUP)]
    archs: list[Arch] = []
    building = [seconds(lambda group=group: archs.extend(map(space.build, group))) for group in groups]
    starts = range(0, len(archs), GROUP)
    counting = [seconds(lambda start=start: [count(a, SIZE) for a in archs[start : start + GROUP]]) for start in starts]
    report_rate("count", counting)
    report_rate("build", building)
    report_rate("build + count", [sum(pair) for pair in zip(building, counting, strict=True)])
    rounds = [round_seconds(arch) for arch in archs[: options.traced]]
    times = f"count {spread([1e6 * ours for ours, _ in rounds])} us, fvcore {spread([fv for _, fv in rounds])} s"
    print(f"{times}, ratio {spread([fvcore / ours for ours, fvcore in rounds])}; all counts are equal")


if __name__ == "__main__":
    main()
