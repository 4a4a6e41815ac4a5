"""ACmix at ResNet-50's four stages against the published formulation: unfold, subtract, multiply, sum.

Run: python benchmarks/operators.py [--mode float32|bf16|compile ...] [--repetitions 20] [--threads 2]
Claim (2 CPU cores, float32, batch 8): the geometric mean of the ratios is at least 15 in inference and 10 forward and
backward; peak memory is at most a tenth.
Both compute the same numbers from the same weights, which is checked first, and both run in the same mode: float32,
bf16 autocast, or float32 compiled by torch.compile. Runs are interleaved; a ratio is that of two runs of the same
round, a spread the quartiles over the rounds. Peak memory is the highest resident set of a process of its own during
one run, less what the weights and the input took: the median of five processes, since what libraries keep for their
threads differs from one to the next.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from acmix_nas import ACmix
from acmix_nas.cost.execution import compiled

STAGES = {"64@56": (64, 56), "128@28": (128, 28), "256@14": (256, 14), "512@7": (512, 7)}
"""Channels and extent of the map."""
MODES = ("float32", "bf16", "compile")
Form = Callable[[torch.Tensor], torch.Tensor]
BATCH, HEADS, WINDOW, KERNEL = 8, 4, 7, 3
PROC = Path("/proc/self")


def naive(module: ACmix, x: torch.Tensor) -> torch.Tensor:
    """The operator as it was published: every window unfolded, keys, positions and values alike."""
    weights = dict(module.named_parameters())
    batch, _, height, width = x.shape
    stride, depth = module.stride, len(weights["attention.position.weight"])
    q, k, v = F.conv2d(x, weights["qkv.weight"][:, :, None, None], weights["qkv.bias"]).chunk(3, 1)

    rows_and_columns = (-(-height // stride), -(-width // stride))

    def windows(images: torch.Tensor) -> torch.Tensor:
        padded = F.pad(images, (WINDOW // 2,) * 4, mode="reflect")
        return F.unfold(padded, WINDOW, stride=stride).view(len(images), depth, WINDOW**2, *rows_and_columns)

    like = {"dtype": x.dtype, "device": x.device}
    rows, columns = torch.linspace(-1, 1, height, **like), torch.linspace(-1, 1, width, **like)
    location = torch.stack((columns.expand(height, width), rows[:, None].expand(height, width)))[None]
    position = F.conv2d(location, weights["attention.position.weight"][:, :, None, None])
    queries = depth**-0.5 * q[:, :, ::stride, ::stride].reshape(batch * HEADS, depth, 1, *rows_and_columns)
    centre = position[:, :, None, ::stride, ::stride]
    relative = windows(k.reshape(batch * HEADS, depth, height, width)) + centre - windows(position)
    attention = (queries * relative).sum(1, keepdim=True).softmax(2)
    att = (attention * windows(v.reshape(batch * HEADS, depth, height, width))).sum(2)

    maps = torch.cat([part.view(batch, HEADS, depth, height * width) for part in (q, k, v)], 1)
    mixed = F.conv2d(maps, weights["convolution.fc.weight"][:, :, None, None])
    mixed = mixed.permute(0, 2, 1, 3).reshape(batch, -1, height, width)
    conv = F.conv2d(mixed, weights["convolution.kernels.weight"], stride=stride, padding=KERNEL // 2, groups=depth)
    return weights["combine.alpha"] * att.view(conv.shape) + weights["combine.beta"] * conv


def operator(stage: str) -> tuple[ACmix, torch.Tensor]:
    """The operator of a stage, and an input."""
    channels, extent = STAGES[stage]
    torch.manual_seed(0)
    module = ACmix(channels, num_heads=HEADS, attn_kernel=WINDOW, conv_kernel=KERNEL)
    return module, torch.randn(BATCH, channels, extent, extent)


def forms_of(module: ACmix) -> dict[str, Form]:
    """Both formulations as functions of the input."""
    return {"ACmix": module, "naive": partial(naive, module)}


def run(form: Form, x: torch.Tensor, mode: str = "float32", *, training: bool) -> torch.Tensor:
    """One run; forward and backward if training."""
    with torch.set_grad_enabled(training):
        with torch.autocast("cpu", torch.bfloat16, enabled=mode == "bf16"):
            y = form(x)
        if training:
            y.sum().backward()
    return y


def seconds(form: Form, x: torch.Tensor, mode: str, *, training: bool) -> float:
    """Wall-clock time of one run."""
    start = time.perf_counter()
    run(form, x, mode, training=training)
    return time.perf_counter() - start


def report(stage: str, mode: str, repetitions: int, *, training: bool) -> float:
    """Times a stage, prints a line, and returns the median ratio."""
    module, x = operator(stage)
    x = x.to(memory_format=torch.channels_last).requires_grad_(training)
    forms = forms_of(module)
    if mode == "compile":
        forms = {name: compiled(form, "cpu", fullgraph=True, dynamic=False) for name, form in forms.items()}
    outputs = [run(form, x, mode, training=training).detach().float() for form in forms.values()]
    tolerance = 0.1 if mode == "bf16" else 1e-4
    torch.testing.assert_close(*outputs, rtol=tolerance, atol=tolerance)
    rounds = []
    for _ in range(repetitions):
        module.zero_grad()
        rounds.append({name: seconds(form, x, mode, training=training) for name, form in forms.items()})
    times = "  ".join(f"{name} {spread([1000 * row[name] for row in rounds])} ms" for name in forms)
    ratios = [row["naive"] / row["ACmix"] for row in rounds]
    kind = "forward+backward" if training else "inference"
    print(f"{stage:7} {mode:7} {kind:16} {times}  ratio {spread(ratios)}", flush=True)
    return statistics.median(ratios)


def spread(values: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def peak_mb(stage: str, name: str, *, training: bool) -> float:
    """Peak memory of one run in a process of its own, in 10^6 bytes."""
    line = [sys.executable, __file__, "--peak", stage, name, "training" if training else "inference"]
    peaks = [float(subprocess.run(line, check=True, capture_output=True, text=True).stdout) for _ in range(5)]
    return statistics.median(peaks)


def print_peak(stage: str, name: str, kind: str) -> None:
    """Prints the peak of this process."""
    module, x = operator(stage)
    training = kind == "training"
    small = torch.randn(1, x.shape[1], 7, 7)
    form = forms_of(module)[name]
    run(form, small, training=training)  # what libraries allocate once
    (PROC / "clear_refs").write_text("5")  # sets VmHWM, the peak so far, back to VmRSS: proc(5)
    before = status_kb("VmRSS")
    run(form, x, training=training)
    print((status_kb("VmHWM") - before) * 1024 / 1e6)


def status_kb(field: str) -> int:
    """A field of /proc/self/status."""
    lines = (PROC / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    """Times all stages and prints geometric means, then peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", action="append", choices=MODES, help="repeatable; all by default")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", nargs=3, metavar=("STAGE", "FORM", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print_peak(*options.peak)
        return
    for mode in options.mode or MODES:
        for training in (False, True):
            ratios = [report(stage, mode, options.repetitions, training=training) for stage in STAGES]
            print(f"geometric mean of the ratios: {statistics.geometric_mean(ratios):.1f}", flush=True)
    for training in (False, True):
        for stage in STAGES:
            ours, theirs = (peak_mb(stage, name, training=training) for name in ("ACmix", "naive"))
            kind = "forward+backward" if training else "inference"
            print(f"{stage:7} {kind:16} peak memory {ours:.0f} MB against {theirs:.0f} MB: {ours / theirs:.3f}")


if __name__ == "__main__":
    main()
