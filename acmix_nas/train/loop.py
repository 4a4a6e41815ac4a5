"""The training loop: one model, one budget, a score after every epoch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from acmix_nas.data import Images, Splits
from acmix_nas.errors import AcmixError
from acmix_nas.train.augment import normalise, shift_and_flip
from acmix_nas.train.mixing import Mixing, watch_mixing
from acmix_nas.train.recipe import Budget, make_optimizer, make_schedule

EVAL_BATCH = 256


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
    """

    scores: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    mixing: list[Mixing] = field(default_factory=list)
    step: int = 0
    steps: int = 0


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
    progress.steps = budget.epochs * budget.steps_per_epoch
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
        for images, labels in feed.batches(splits.train, generator):
            loss = _step(model, optimizer, budget, images, labels)
            if not math.isfinite(loss):
                raise DivergedError(f"the loss is {loss} at step {progress.step} of {progress.steps}")
            schedule.step()
            total += loss * len(labels)
            progress.step += 1
            if on_step:
                on_step(progress)
        progress.losses.append(total / len(splits.train.labels))
        top1, mixing = _evaluate(model, feed, scored)
        progress.scores.append(top1)
        progress.mixing.append(mixing)
    return progress


@dataclass(frozen=True, slots=True)
class _Feed:
    """Turns stored uint8 images into normalised batches on the device."""

    splits: Splits
    budget: Budget
    device: str

    def batches(self, images: Images, generator: torch.Generator):  # type: ignore[no-untyped-def]
        shift = round(self.budget.max_shift * images.images.shape[-1])
        for index in torch.randperm(len(images.labels), generator=generator).split(self.budget.batch_size):
            batch = shift_and_flip(images.images[index], shift, generator)
            yield self._ready(batch), images.labels[index].to(self.device)

    def in_order(self, images: Images):  # type: ignore[no-untyped-def]
        for batch, labels in zip(images.images.split(EVAL_BATCH), images.labels.split(EVAL_BATCH), strict=True):
            yield self._ready(batch), labels.to(self.device)

    def _ready(self, batch: torch.Tensor) -> torch.Tensor:
        mean = torch.tensor(self.splits.mean, device=self.device)
        std = torch.tensor(self.splits.std, device=self.device)
        return normalise(batch.to(self.device), mean, std).contiguous(memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.budget.precision == "bf16")


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, budget: Budget, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=budget.precision == "bf16"):
        logits = model(images)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=budget.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), budget.clip_norm)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def _evaluate(model: nn.Module, feed: _Feed, images: Images) -> tuple[float, Mixing]:
    model.eval()
    right = 0
    with watch_mixing(model) as mixing, feed.autocast():
        for batch, labels in feed.in_order(images):
            right += int((model(batch).argmax(1) == labels).sum())
    return right / len(images.labels), mixing()
