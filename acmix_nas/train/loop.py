"""The training loop: one model, one budget, a score after every epoch."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import nn
from torch.nn import functional as F

from acmix_nas.data import Images, Splits
from acmix_nas.errors import AcmixError
from acmix_nas.train.augment import normalise, shift_and_flip
from acmix_nas.train.mixing import Mixing, watch_mixing
from acmix_nas.train.recipe import Budget, make_optimizer, make_schedule

EVAL_BATCH = 256

Batch: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Normalised images (B, C, H, W) and labels (B,) on the device."""


class DivergedError(AcmixError):
    """The loss stopped being a number."""


@dataclass(slots=True)
class Progress:
    """What training has shown so far; it grows while `train` runs.

    Attributes:
        scores: Top-1 accuracy in [0, 1] on the scored split after each epoch.
        losses: Mean training loss of each epoch.
        mixing: (alpha, beta) of each block after each epoch.
        step: Optimizer steps done.
        steps: Optimizer steps in all.
        epochs: Epochs in all.
    """

    scores: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    mixing: list[Mixing] = field(default_factory=list)
    step: int = 0
    steps: int = 0
    epochs: int = 0


def train(
    model: nn.Module,
    splits: Splits,
    budget: Budget,
    *,
    split: str = "search",
    order_seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Progress:
    """Trains a model in place and scores it after every epoch.

    Args:
        model: Maps (B, C, H, W) images to (B, classes) logits.
        splits: Images; `budget.images` of `splits.train` are there.
        budget: The recipe.
        split: Images that are scored: "search" or "report".
        order_seed: Seed of the order of images and of augmentation, apart from that of the weights.
        device: "cpu" or "cuda".
        progress: Filled as training goes, so that what was reached is known after an error.
        on_step: Called after every optimizer step.

    Returns:
        `progress`.

    Raises:
        DivergedError: The loss is not finite.
    """
    progress = progress or Progress()
    progress.epochs, progress.steps = budget.epochs, budget.epochs * budget.steps_per_epoch
    generator = torch.Generator().manual_seed(order_seed)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, budget)
    schedule = make_schedule(optimizer, budget)
    feed = _Feed(splits, budget, device)
    scored = splits.search if split == "search" else splits.report
    assert scored is not None, "the report split was not loaded"
    for _ in range(budget.epochs):
        model.train()
        total = 0.0
        for batch in feed.shuffled(splits.train, generator):
            loss = _step(model, optimizer, feed, batch)
            if not math.isfinite(loss):
                raise DivergedError(f"the loss is {loss} at step {progress.step} of {progress.steps}")
            schedule.step()
            total += loss * len(batch[1])
            progress.step += 1
            if on_step:
                on_step(progress)
        progress.losses.append(total / len(splits.train))
        top1, mixing = _evaluate(model, feed, scored)
        progress.scores.append(top1)
        progress.mixing.append(mixing)
    return progress


class _Feed:
    """Turns stored uint8 images into normalised batches on the device."""

    def __init__(self, splits: Splits, budget: Budget, device: str) -> None:
        self.budget = budget
        self.device = device
        self.mean = torch.tensor(splits.mean, device=device)
        self.std = torch.tensor(splits.std, device=device)

    def shuffled(self, images: Images, generator: torch.Generator) -> Iterator[Batch]:
        order = torch.randperm(len(images), generator=generator)
        largest = round(self.budget.max_shift * images.images.shape[-1])
        for start in range(0, len(images), self.budget.batch_size):
            index = order[start : start + self.budget.batch_size]
            yield self._ready(shift_and_flip(images.images[index], largest, generator), images.labels[index])

    def in_order(self, images: Images) -> Iterator[Batch]:
        for start in range(0, len(images), EVAL_BATCH):
            part = slice(start, start + EVAL_BATCH)
            yield self._ready(images.images[part], images.labels[part])

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.budget.precision == "bf16")

    def _ready(self, images: torch.Tensor, labels: torch.Tensor) -> Batch:
        pixels = normalise(images.to(self.device), self.mean, self.std)
        return pixels.contiguous(memory_format=torch.channels_last), labels.to(self.device)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, feed: _Feed, batch: Batch) -> float:
    images, labels = batch
    with feed.autocast():
        logits = model(images)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=feed.budget.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), feed.budget.clip_norm)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def _evaluate(model: nn.Module, feed: _Feed, images: Images) -> tuple[float, Mixing]:
    model.eval()
    right = 0
    with watch_mixing(model) as mixing, feed.autocast():
        for pixels, labels in feed.in_order(images):
            right += int((model(pixels).argmax(1) == labels).sum())
        return right / len(images), mixing()
