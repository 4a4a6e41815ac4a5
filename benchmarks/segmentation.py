"""Segmentation around the network: evaluation and training beside the bare passes, UPerNet with and without ACmix.

Run: python benchmarks/segmentation.py [evaluation] [training] [upernet] [--images 200] [--rounds 10] [--threads 1]
Claim (one CPU core, float32): what is not the forward pass takes at most 60 ms an image of 512 x 683 pixels and 150
classes (decoding, scaling of the scores, class of each pixel, confusion matrix); training on composed scenes at the
proxy `dense_cpu` does at least 90 % of the images a second of bare steps on a resident batch; Swin-T-ACmix with UPerNet
takes at most 1.05 times as long, and as much memory, as Swin-T with UPerNet.
`evaluation` scores PVT-T with Semantic-FPN on JPEG files written for it, in rounds: once as it is, once with the scores
of all classes scaled to the image and argmax over them, as torch has both. `training` trains as many images in each
way, in turns. Ratios are of two times of the same round, spreads the quartiles over rounds. `upernet` asks `acmix
profile`, which interleaves the two networks itself.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from operators import spread
from PIL import Image
from torch import nn
from torch.nn import functional as F

from acmix_nas import load_space
from acmix_nas.data import Splits
from acmix_nas.segmentor import build_segmentor
from acmix_nas.tasks import load_images, load_task, segmentation
from acmix_nas.train import Budget, Setting, Training
from acmix_nas.train.recipe import make_optimizer
from acmix_nas.train.trial import build_proxy

SPACE = load_space("pvt_tiny")
CLASSES, HEIGHT, WIDTH = 150, 512, 683
SWINS = ("acmix_swin_tiny_patch4_window7_224", "swin_tiny_patch4_window7_224")


def smooth(rng: np.random.Generator, cells: int, most: int) -> Image.Image:
    """A picture of smooth regions, values from 0 up to `most`."""
    values = rng.integers(0, most + 1, (cells, cells), dtype=np.uint8)
    return Image.fromarray(values).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)


def write_images(root: Path, images: int) -> None:
    """Photograph-sized JPEG files with masks of 150 classes; the part to train on is one image."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", images)):
        for number in range(count):
            bands = [smooth(rng, 24, 255).resize((WIDTH, HEIGHT)) for _ in range(3)]
            for kind, suffix, image in (
                ("images", "jpg", Image.merge("RGB", bands)),
                ("masks", "png", smooth(rng, 12, CLASSES - 1)),
            ):
                file = root / kind / part / f"{number}.{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                image.save(file)
    (root / "classes.txt").write_text("\n".join(f"class {number}" for number in range(CLASSES)) + "\n")


class Timed(nn.Module):
    """A network that keeps how long its forward passes took."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.seconds = model, 0.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """As the network."""
        start = time.perf_counter()
        scores: torch.Tensor = self.model(images)
        self.seconds += time.perf_counter() - start
        return scores


def by_torch(scores: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The class of each pixel the plain way."""
    return F.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0].argmax(0)


def evaluation(images: int, rounds: int) -> None:
    """Prints milliseconds of an image beside the forward pass."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_images(root, images)
        # Each round reads its images anew: nothing that was decoded is kept.
        splits = load_images("segmentation", root, input_size=64, train_images=1, seed=0, with_report=True)
        torch.manual_seed(0)
        arch = SPACE.build(SPACE.first["plain host"])
        model = build_segmentor(arch, head="semantic_fpn", num_classes=CLASSES, img_size=HEIGHT)
        budget = Budget(epochs=1, images=1, batch_size=1, learning_rate=0.001, label_smoothing=0.0, max_shift=0.0)
        training = Training(model, splits, budget, split="report", task="segmentation")
        assert splits.report is not None
        splits.report.images._left = 0  # type: ignore[union-attr]
        ours, rows = segmentation.predicted, []
        per_round = images // rounds
        for number in range(rounds):
            splits.report.images.chosen = np.arange(number * per_round, (number + 1) * per_round)  # type: ignore[union-attr]
            object.__setattr__(splits.report, "targets", range(per_round))
            row = {}
            for name, function in (("ours", ours), ("plain", by_torch)):
                segmentation.predicted = function
                timed: list[Timed] = []

                def watch(network: nn.Module, timed: list[Timed] = timed) -> nn.Module:
                    timed.append(Timed(network))
                    return timed[-1]

                start = time.perf_counter()
                training.score(watch)
                whole = time.perf_counter() - start
                row[name] = 1000 * (whole - timed[0].seconds) / per_round
                row["forward"] = 1000 * timed[0].seconds / per_round
            rows.append(row)
        segmentation.predicted = ours
    print(f"evaluation, {images} images of {HEIGHT} x {WIDTH}, {CLASSES} classes, ms an image:", flush=True)
    for name in ("ours", "plain", "forward"):
        print(f"  {name:8} {spread([row[name] for row in rows])}", flush=True)
    low, middle, high = statistics.quantiles([row["ours"] / row["plain"] for row in rows], n=4)
    print(f"  ours / plain {middle:.3f} ({low:.3f} to {high:.3f})", flush=True)


def bare(setting: Setting) -> Callable[[], object]:
    """Steps on one batch that lies ready."""
    task, budget = load_task("segmentation"), setting.budget
    torch.manual_seed(0)
    model = build_proxy(SPACE.build(SPACE.first["paper"]), setting).to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(model, budget)
    size = setting.proxy.input_size
    images = torch.randn(budget.batch_size, 3, size, size).contiguous(memory_format=torch.channels_last)
    masks = torch.randint(len(setting.splits.classes), (budget.batch_size, size, size), dtype=torch.uint8)

    def run() -> None:
        for _ in range(budget.steps_per_epoch):
            outputs: Any = model(images)
            scaled = F.interpolate(outputs, (size, size), mode="bilinear", align_corners=False)
            loss = task.loss(scaled, masks, budget)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return run


def ours_of(setting: Setting) -> Callable[[], object]:
    """An epoch of a training."""
    torch.manual_seed(0)
    model = build_proxy(SPACE.build(SPACE.first["paper"]), setting)
    training = Training(model, setting.splits, setting.budget, task="segmentation")
    return training._pass


def training(images: int, rounds: int) -> None:
    """Prints images a second of training and of bare steps."""
    proxy = SPACE.proxies["dense_cpu"]
    splits: Splits = load_images(
        "segmentation", None, input_size=proxy.input_size, train_images=images, seed=0, with_report=False
    )
    recipe = load_task("segmentation").proxy_recipe
    budget = Budget(epochs=1000, images=images, batch_size=proxy.batch_size, learning_rate=0.001, **recipe)
    setting = Setting(
        proxy=proxy, budget=budget, splits=splits, split="search", input_size=512, device="cpu", task="segmentation"
    )
    runs = {"bare": bare(setting), "ours": ours_of(setting)}
    rows = []
    for number in range(rounds + 1):
        row = {}
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            row[name] = images / (time.perf_counter() - start)
        rows += [row] if number else []  # the first round draws the scenes and warms up
    print(f"training, {images} scenes a round, images a second:", flush=True)
    for name in runs:
        print(f"  {name:8} {spread([row[name] for row in rows])}", flush=True)
    low, middle, high = statistics.quantiles([row["ours"] / row["bare"] for row in rows], n=4)
    print(f"  ours / bare {middle:.3f} ({low:.3f} to {high:.3f})", flush=True)


def upernet(threads: int) -> None:
    """Prints the ratio of Swin-T with ACmix to Swin-T, both with UPerNet, in time and memory."""
    for kind, words in (("inference", ["--batch-size", "1"]), ("training", ["--batch-size", "2", "--train"])):
        line = [sys.executable, "-m", "acmix_nas", "profile", *reversed(SWINS), *words, "--task", "segmentation"]
        line += ["--head", "upernet", "--input-size", "512", "--no-counters", "--threads", str(threads), "--json"]
        line += ["--time-limit", "40", "--device", "cpu"]
        done = subprocess.run(line, check=True, capture_output=True, text=True)
        plain, mixed = json.loads(done.stdout)["rows"]
        memory = mixed["peak_memory_mb"] / plain["peak_memory_mb"]
        print(
            f"upernet, {kind}: time {mixed['ratio']:.3f} [{mixed['ratio_low']:.3f}, {mixed['ratio_high']:.3f}], "
            f"memory {memory:.3f} ({mixed['peak_memory_mb']:,.0f} of {plain['peak_memory_mb']:,.0f} MB)",
            flush=True,
        )


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="evaluation, training, upernet; all if none is given")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    parts = options.parts or ["evaluation", "training", "upernet"]
    if "evaluation" in parts:
        evaluation(options.images, options.rounds)
    if "training" in parts:
        training(options.images, options.rounds)
    if "upernet" in parts:
        upernet(options.threads)


if __name__ == "__main__":
    main()
