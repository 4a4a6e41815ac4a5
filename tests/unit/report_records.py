"""Records as a small study leaves them: twelve Swin blocks, made up scores."""

import math
import random
from dataclasses import replace
from typing import Any

from acmix_nas.arch import Arch, Mixer
from acmix_nas.record import Cost, StudyHeader, TrialRecord

DEPTHS = (2, 2, 6, 2)
HEADS = (3, 6, 12, 24)
COMBINES = ("att", "conv", "sum", "half", "beta", "convex", "learned")


SPACE: dict[str, Any] = {
    "host": "swin",
    "widths": [96, 192, 384, 768],
    "depths": list(DEPTHS),
    "input_size": 224,
    "conv_on": "rolled",
    "fixed": [
        {"attention": "window", "attn_kernel": 7, "conv_init": "shift", "conv_impl": "full", "num_heads": heads}
        for heads in HEADS
    ],
    "choices": {
        choice["name"]: choice
        for stage in range(4)
        for choice in (
            {"name": f"stages.{stage}.combine", "options": list(COMBINES), "ordered": False, "when": {}},
            {
                "name": f"stages.{stage}.conv_kernel",
                "options": [3, 5, 7],
                "ordered": True,
                "when": {f"stages.{stage}.combine": list(COMBINES[1:])},
            },
        )
    },
}
REFERENCE = {"top1": 0.0, "macs": 5.13e9}


def make_arch(combines: tuple[str, ...] = ("learned",) * 4, conv_kernel: int = 3, conv_impl: str = "full") -> Arch:
    stages = [
        [
            Mixer.canonical(
                attention="window",
                attn_kernel=7,
                conv_kernel=conv_kernel,
                num_heads=heads,
                conv_impl=conv_impl,
                conv_init="shift",
                combine=combine,
            )
        ]
        * depth
        for combine, depth, heads in zip(combines, DEPTHS, HEADS, strict=True)
    ]
    return Arch.canonical(host="swin", stages=stages, conv_on="rolled")


Epochs = tuple[tuple[tuple[float, float] | None, ...], ...]


def make_mixing(arch: Arch, epochs: int) -> Epochs:
    def pair(mixer: Mixer, place: float, progress: float) -> tuple[float, float] | None:
        if mixer.combine != "learned":
            return None
        return (0.5 + progress * (0.5 * place - 0.2), 0.5 + progress * (0.3 - 0.55 * place))

    count = len(arch.mixers)
    return tuple(
        tuple(pair(mixer, i / (count - 1), (epoch + 1) / epochs) for i, mixer in enumerate(arch.mixers))
        for epoch in range(epochs)
    )


def make_norms(mixing: Epochs) -> Epochs:
    """Contributions of paths of which the convolution's is the larger one."""
    return tuple(tuple(pair and (2 * abs(pair[0]), 5 * abs(pair[1])) for pair in blocks) for blocks in mixing)


def make_record(number: int = 0, top1: float = 0.84, epochs: int = 6, **changes: object) -> TrialRecord:
    arch = changes.pop("arch", None) or make_arch()
    assert isinstance(arch, Arch)
    record = TrialRecord(
        number=number,
        status="complete",
        arch=arch,
        cost=Cost(params=28_649_908, macs=4_664_000_000, macs_deploy=4_600_000_000, input_size=224),
        label="tpe",
        split="search",
        scores=tuple(
            max(0.0, top1 - 0.3 * math.exp(-1.1 * epoch)) if epoch < epochs - 1 else top1 for epoch in range(epochs)
        ),
        losses=tuple(2.0 / (epoch + 1) for epoch in range(epochs)),
        mixing=make_mixing(arch, epochs),
        norms=make_norms(make_mixing(arch, epochs)),
        seeds={"init": 0, "order": 0},
        budget={"epochs": epochs, "images": 4000, "batch_size": 64, "learning_rate": 1e-3},
        proxy={"name": "cpu", "input_size": 28, "width": 0.25, "depths": list(DEPTHS)},
        data={"name": "fashion_mnist (embedded)", "fingerprint": "9f86d081884c7d65", "num_classes": 10},
        environment={"device": "cpu", "device_name": "AMD EPYC 7B13", "threads": 2, "torch": "2.15.0"},
        started="2026-01-05T10:00:00+00:00",
        seconds=41.5,
    )
    return replace(record, **changes)


def make_failed(number: int, error: str = "RuntimeError: out of memory", **changes: object) -> TrialRecord:
    return replace(
        make_record(number, **changes), status="failed", scores=(), losses=(), mixing=(), norms=(), error=error
    )


def make_search(count: int = 24, seed: int = 1) -> tuple[StudyHeader, list[TrialRecord]]:
    rng = random.Random(seed)
    header = StudyHeader(
        name="swin_t-001",
        kind="search",
        space="swin_t",
        host="swin",
        split="search",
        seed=1,
        command="acmix search --space swin_t --trials 24",
        version="0.1.0",
        settings={"space": SPACE, "reference": REFERENCE},
    )
    records = []
    for number in range(count):
        combines = [("att",) * 4, ("learned",) * 4, tuple(rng.choice(COMBINES) for _ in range(4))][min(number, 2)]
        label = ("plain host", "paper", "random" if number < 9 else "tpe")[min(number, 2)]
        arch = make_arch(combines, rng.choice((3, 5, 7)) if number > 1 else 3)
        macs = 4_490_000_000 + sum(rng.randint(20, 90) * 1_000_000 for mixer in arch.mixers if mixer.convolves)
        cost = Cost(params=28_280_000 + macs // 40_000, macs=macs, macs_deploy=macs - macs // 50, input_size=224)
        top1 = 0.81 + 0.03 * rng.random() + 0.012 * (macs - 4.49e9) / 1e9 + (0.004 if number > 9 else 0)
        records.append(make_record(number, round(top1, 4), arch=arch, cost=cost, label=label))
    records[7] = replace(records[7], shared_with=3)
    records[11] = make_failed(11, arch=records[11].arch, cost=records[11].cost)
    return header, records


def make_ablation(seeds: int = 5) -> tuple[StudyHeader, list[TrialRecord]]:
    rng = random.Random(2)
    header = StudyHeader(
        name="combine-001",
        kind="ablate",
        space="combine",
        host="swin",
        split="report",
        baseline="learned",
        rows=COMBINES,
        command="acmix ablate combine --seeds 5",
        version="0.1.0",
    )
    effect = {seed: rng.gauss(0, 0.006) for seed in range(seeds)}
    records = []
    for seed in range(seeds):
        for row, combine in enumerate(COMBINES):
            arch = make_arch((combine,) * 4)
            macs = 4_490_000_000 + 10_000_000 * sum(mixer.convolves for mixer in arch.mixers)
            records.append(
                make_record(
                    seed * len(COMBINES) + row,
                    0.83 + effect[seed] + 0.004 * row + rng.gauss(0, 0.002),
                    arch=arch,
                    cost=Cost(params=28_300_000, macs=macs, macs_deploy=macs, input_size=224),
                    label=combine,
                    split="report",
                    seeds={"init": seed, "order": seed + 100},
                    environment={
                        "device_name": "NVIDIA H200",
                        "torch": "2.15.0",
                        "throughput_img_per_s": 900.0 - 30 * row + seed,
                    },
                )
            )
    records[3] = make_failed(3, arch=records[3].arch, label=records[3].label, split="report", seeds=records[3].seeds)
    return header, records
