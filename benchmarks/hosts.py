"""Whole networks with ACmix against their baselines: timm's Swin, plain hosts, ResNet-50 as it was published.

Run: python benchmarks/hosts.py [PAIR ...] [--mode float32|bf16|compile ...] [--repetitions 20] [--threads 2]
Claim (2 CPU cores, float32, batch 4, 224 pixels): Swin-ACmix-T takes at most 1.25 times as long as timm's swin_tiny in
training and, merged, at most 1.15 times in inference; PVT-ACmix and SAN-ACmix at most 1.2 times as long as their plain
hosts; ResNet-50-ACmix at most 0.125 times as long as with the published formulation of its operator.
Both networks of a pair run in the same mode: float32, bf16 autocast, or float32 compiled by torch.compile. Runs are
interleaved; a ratio is that of two runs of the same round, a spread the quartiles over the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch
from operators import naive, spread
from torch import nn

from acmix_nas import ACmix, Arch, build_model
from acmix_nas.cost.execution import compiled
from acmix_nas.models import merge, named_arch

BATCH, SIZE = 4, 224


class Published(nn.Module):
    """An operator computed by unfolding every window."""

    def __init__(self, operator: ACmix) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As `naive`."""
        return naive(self.operator, x)


def without_convolution(name: str) -> nn.Module:
    """The plain host of a named model: attention alone in every block."""
    whole = named_arch(name)
    stages = [[mixer.having(combine="att") for mixer in stage] for stage in whole.stages]
    return build_model(Arch.canonical(host=whole.host, stages=stages))


def published_resnet() -> nn.Module:
    """ResNet-50-ACmix with the published formulation in every block."""
    model = timm.create_model("acmix_resnet50")
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in stage:
            block.conv2 = Published(block.conv2)
    return model


PAIRS: dict[str, tuple[str, str, Callable[[], nn.Module]]] = {
    "swin": (
        "acmix_swin_tiny_patch4_window7_224",
        "timm's swin_tiny",
        lambda: timm.create_model("swin_tiny_patch4_window7_224", drop_path_rate=0.0),
    ),
    "merged": (
        "acmix_swin_tiny_patch4_window7_224",
        "timm's swin_tiny",
        lambda: timm.create_model("swin_tiny_patch4_window7_224", drop_path_rate=0.0),
    ),
    "pvt": ("acmix_pvt_tiny", "plain host", lambda: without_convolution("acmix_pvt_tiny")),
    "san": ("acmix_san10", "plain host", lambda: without_convolution("acmix_san10")),
    "resnet": ("acmix_resnet50", "published form", published_resnet),
}
"""Our model, and the baseline's name and builder; "merged" is inference only, with `acmix_nas.models.merge`."""


MODES = ("float32", "bf16", "compile")


def seconds(model: nn.Module, images: torch.Tensor, mode: str, *, training: bool) -> float:
    """Wall-clock time of one forward pass, or of a forward and a backward pass."""
    model.zero_grad()
    start = time.perf_counter()
    with torch.set_grad_enabled(training):
        with torch.autocast("cpu", torch.bfloat16, enabled=mode == "bf16"):
            y = model(images)
        if training:
            y.sum().backward()
    return time.perf_counter() - start


def report(pair: str, mode: str, repetitions: int, *, training: bool) -> None:
    """Times a pair and prints a line."""
    name, baseline, build = PAIRS[pair]
    torch.manual_seed(0)
    ours = timm.create_model(name, drop_path_rate=0.0)
    models = {"ACmix": merge(ours) if pair == "merged" else ours, baseline: build()}
    images = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    for name, model in models.items():
        model.train(training).to(memory_format=torch.channels_last)
        models[name] = compiled(model, "cpu", fullgraph=True, dynamic=False) if mode == "compile" else model
        for _ in range(2):
            seconds(models[name], images, mode, training=training)
    rounds = [
        {name: seconds(model, images, mode, training=training) for name, model in models.items()}
        for _ in range(repetitions)
    ]
    times = "  ".join(f"{name} {spread([1000 * row[name] for row in rounds])} ms" for name in models)
    ratios = [row["ACmix"] / row[baseline] for row in rounds]
    low, middle, high = statistics.quantiles(ratios, n=4)
    kind = "training" if training else "inference"
    print(f"{pair:7} {mode:7} {kind:10} {times}  ratio {middle:.3f} ({low:.3f} to {high:.3f})", flush=True)


def main() -> None:
    """Times the pairs asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help=f"of {', '.join(PAIRS)}; all if none is given")
    parser.add_argument("--mode", action="append", choices=MODES, help="repeatable; all by default")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for pair in options.pairs or PAIRS:
        for mode in options.mode or MODES:
            for training in (False,) if pair == "merged" else (False, True):
                report(pair, mode, options.repetitions, training=training)


if __name__ == "__main__":
    main()
