"""Training throughput of this loop: against the bare steps on a batch that is there, and against timm's loader.

Run: python benchmarks/train.py [--data FOLDER] [--input-size 28] [--images 1024] [--rounds 10] [--threads 2]
Claim (2 CPU cores, float32): the proxy training of `acmix search --space swin_t` does at least 90 % of the images a
second of the bare forward, backward and step of the same network on one resident batch; and, where the files are
photographs of ImageNet's size (--data), at least 1.5 times those of the plain loop fed by timm's `create_loader` with
the same files, network, crops and flips, dtype and threads.
All train the paper's network of swin_t at the proxy `cpu`, batch 64, with AdamW. timm decodes in every epoch, with one
worker for each thread, started before anything is timed; ours are decoded once before, which is told in seconds. A
round trains as many images in each way, in turns; a ratio is that of two times of the same round, a spread the
quartiles. Scoring takes next to no time: one image is scored. Without --data the files are embedded images as PNG,
which take timm less time than the network takes: the second ratio is then small.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from operators import spread
from PIL import Image
from timm.data import create_dataset, create_loader
from torch import nn
from torch.nn import functional as F

from acmix_nas import build_model, load_space
from acmix_nas.data import Splits, load_splits
from acmix_nas.train import Budget, Training
from acmix_nas.train.recipe import make_optimizer

SPACE, CROP = load_space("swin_t"), (0.08, 1.0)
PROXY = SPACE.proxies["cpu"]


def write_embedded(root: Path, images: int) -> None:
    """Embedded images as a folder of PNG files, train/CLASS/* and val/CLASS/*."""
    splits = load_splits(None, input_size=28, train_images=images, seed=0, with_report=True)
    for name, part in (("train", splits.train), ("val", splits.search)):
        for index, (image, label) in enumerate(zip(part.images, part.targets.tolist(), strict=True)):
            folder = root / name / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(folder / f"{index}.png")


def network(splits: Splits) -> nn.Module:
    """The paper's network at the proxy, with the same weights each time."""
    torch.manual_seed(0)
    model = build_model(
        PROXY.shrink(SPACE.build(SPACE.first["paper"])),
        num_classes=len(splits.classes),
        in_chans=splits.in_chans,
        img_size=splits.input_size,
        patch_size=PROXY.patch_size,
        width=PROXY.width,
    )
    return model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Forward, backward and step, and nothing else."""
    loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def bare(splits: Splits, budget: Budget) -> Callable[[], object]:
    """Steps on one batch that lies ready."""
    model = network(splits)
    optimizer = make_optimizer(model, budget)
    shape = (budget.batch_size, splits.in_chans, splits.input_size, splits.input_size)
    images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    labels = splits.train.targets[: budget.batch_size]

    def run() -> None:
        for _ in range(budget.steps_per_epoch):
            plain_step(model, optimizer, images, labels)

    return run


def timms(splits: Splits, budget: Budget, root: Path, workers: int) -> Callable[[], object]:
    """The plain loop on what timm's loader decodes and augments."""
    model = network(splits)
    optimizer = make_optimizer(model, budget)
    loader = create_loader(
        create_dataset("", root=str(root / "train"), split="train", is_training=True),
        input_size=(splits.in_chans, splits.input_size, splits.input_size),
        batch_size=budget.batch_size,
        is_training=True,
        scale=CROP,
        color_jitter=0.0,
        mean=splits.mean,
        std=splits.std,
        num_workers=workers,
        device=torch.device("cpu"),
        use_prefetcher=False,
        use_multi_epochs_loader=True,
    )

    if not len(loader):
        raise SystemExit(f"there are fewer than {budget.batch_size} images, one batch; give more with --data")

    def run() -> None:
        seen = 0
        while seen < budget.images:
            for images, labels in loader:
                plain_step(model, optimizer, images.contiguous(memory_format=torch.channels_last), labels)
                seen += len(labels)
                if seen >= budget.images:
                    break

    return run


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock time of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Prints images a second in each way, then the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--input-size", type=int, default=28)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        root = options.data or Path(folder)
        if options.data is None:
            write_embedded(root, options.images + 1)
        start = time.perf_counter()
        splits = load_splits(
            root,
            input_size=options.input_size,
            train_images=options.images,
            search_images=1,
            seed=0,
            with_report=False,
            at_most=True,
        )
        print(f"{len(splits.train)} images decoded once in {time.perf_counter() - start:.2f} s", flush=True)
        compare(splits, root, options.rounds, options.threads)


def compare(splits: Splits, root: Path, rounds: int, threads: int) -> None:
    """Times all three ways in turns."""
    budget = Budget(
        epochs=rounds + 1,
        images=len(splits.train),
        batch_size=PROXY.batch_size,
        learning_rate=PROXY.learning_rate,
        max_shift=0.0,
        crop=CROP,
    )
    proxied = Training(network(splits), splits, replace(budget, crop=None, max_shift=0.1))
    cropped = Training(network(splits), splits, budget)
    ways: dict[str, Callable[[], object]] = {
        "bare steps": bare(splits, budget),
        "proxy training": proxied.epoch,
        "with crops": cropped.epoch,
        "timm's loader": timms(splits, budget, root, threads),
    }
    for run in ways.values():
        run()
    times = [{name: seconds(run) for name, run in ways.items()} for _ in range(rounds)]
    for name in ways:
        print(f"{name:15} {spread([budget.images / row[name] for row in times])} images a second", flush=True)
    for ours, other in (("proxy training", "bare steps"), ("with crops", "timm's loader")):
        low, middle, high = statistics.quantiles([row[other] / row[ours] for row in times], n=4)
        print(f"{ours} / {other}: {middle:.3f} ({low:.3f} to {high:.3f})", flush=True)


if __name__ == "__main__":
    main()
