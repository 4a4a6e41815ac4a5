"""The training loop: one model, one budget, a score after every epoch, and a file to go on from."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from acmix_nas.data import Images, Splits
from acmix_nas.errors import AcmixError
from acmix_nas.train.checkpoint import (
    below,
    check_key,
    load_model,
    load_optimizer,
    optimizer_state,
    prefixed,
    read_checkpoint,
    write_checkpoint,
)
from acmix_nas.train.feed import Batch, Feed
from acmix_nas.train.mixing import Mixing, watch_mixing
from acmix_nas.train.recipe import Budget, make_optimizer, make_schedule


class DivergedError(AcmixError):
    """The loss stopped being a number."""


@dataclass(slots=True)
class Progress:
    """What training has shown so far; it grows while a network trains.

    Attributes:
        scores: Top-1 accuracy in [0, 1] on the scored split after each epoch.
        losses: Mean training loss of each epoch.
        mixing: (alpha, beta) of each block after each epoch.
        step: Optimizer steps done.
        steps: Optimizer steps in all.
        epochs: Epochs in all.
        started: When the first epoch began, ISO 8601 in UTC.
        seconds: Wall-clock time of all finished epochs.
        earlier: The part of it before a resume.
    """

    scores: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    mixing: list[Mixing] = field(default_factory=list)
    step: int = 0
    steps: int = 0
    epochs: int = 0
    started: str = ""
    seconds: float = 0.0
    earlier: float = 0.0

    def take(self, values: Mapping[str, Any]) -> None:
        """Takes over what `dataclasses.asdict` said of another one and JSON kept."""
        for item in fields(self):
            setattr(self, item.name, values[item.name])
        self.earlier = self.seconds
        self.mixing = [tuple(pair if pair is None else (pair[0], pair[1]) for pair in epoch) for epoch in self.mixing]


class Training:
    """A network in training, an epoch at a time.

    Saved after an epoch and loaded by another process, it goes on to the same bits on the CPU as if it had never
    stopped: weights, optimizer, schedule, the order of images, augmentation and dropout are all in the file.

    Args:
        model: Maps (B, C, H, W) images to (B, classes) logits; trained in place.
        splits: Images; `budget.images` of `splits.train` are there.
        budget: The recipe.
        split: Images that are scored: "search" or "report".
        order_seed: Seed of the order of images and of augmentation, apart from that of the weights.
        device: "cpu" or "cuda".
        progress: Filled as training goes, so that what was reached is known after an error.
        on_step: Called after every optimizer step.
        key: Further plain values that a checkpoint has to agree with, as which network it is.
    """

    def __init__(
        self,
        model: nn.Module,
        splits: Splits,
        budget: Budget,
        *,
        split: str = "search",
        order_seed: int = 0,
        device: str = "cpu",
        progress: Progress | None = None,
        on_step: Callable[[Progress], None] | None = None,
        key: Mapping[str, Any] | None = None,
    ) -> None:
        scored = splits.search if split == "search" else splits.report
        assert scored is not None, "the report split was not loaded"
        self.model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.budget = budget
        self.progress = progress or Progress()
        self.progress.epochs, self.progress.steps = budget.epochs, budget.epochs * budget.steps_per_epoch
        self._train_images, self._scored = splits.train, scored
        self._device = device
        self._on_step = on_step
        self._generator = torch.Generator().manual_seed(order_seed)
        self._optimizer = make_optimizer(model, budget)
        self._schedule = make_schedule(self._optimizer, budget)
        self._feed = Feed(splits, budget, device)
        self._key = {
            **(key or {}),
            "budget": budget.to_dict(),
            "data": splits.to_dict(),
            "split": split,
            "order_seed": order_seed,
        }

    @property
    def done(self) -> bool:
        """Whether all epochs are trained."""
        return len(self.progress.scores) >= self.budget.epochs

    def epoch(self) -> float:
        """Trains one epoch and scores the network; returns top-1 in [0, 1].

        Raises:
            DivergedError: The loss is not finite.
        """
        clock = time.perf_counter()
        self.progress.started = self.progress.started or datetime.now(UTC).isoformat(timespec="seconds")
        loss = self._pass()
        top1, mixing = self._score()
        self.progress.losses.append(loss)
        self.progress.scores.append(top1)
        self.progress.mixing.append(mixing)
        self.progress.seconds += time.perf_counter() - clock
        return top1

    def save(self, path: Path) -> None:
        """Writes everything that the next epoch depends on, in one step."""
        optimizer, facts = optimizer_state(self._optimizer)
        random = {"order": self._generator.get_state(), "torch": torch.get_rng_state()}
        if self._device == "cuda":
            random["cuda"] = torch.cuda.get_rng_state()
        tensors = {
            **prefixed("model", self.model.state_dict()),
            **prefixed("optimizer", optimizer),
            **prefixed("random", random),
        }
        progress, schedule = asdict(self.progress), self._schedule.state_dict()
        write_checkpoint(
            path, tensors, {"key": self._key, "progress": progress, "schedule": schedule, "optimizer": facts}
        )

    def load(self, path: Path) -> None:
        """Takes over what `save` wrote, torch's own random state included.

        Raises:
            ResumeError: The file cannot be read, or is of another network, budget, data or seed; it says which.
        """
        tensors, facts = read_checkpoint(path)
        check_key(path, facts["key"], self._key)
        load_model(path, self.model, below("model", tensors))
        load_optimizer(self._optimizer, below("optimizer", tensors), facts["optimizer"])
        self._schedule.load_state_dict(facts["schedule"])
        random = below("random", tensors)
        self._generator.set_state(random["order"])
        torch.set_rng_state(random["torch"])
        if self._device == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"])
        self.progress.take(facts["progress"])

    def _pass(self) -> float:
        """Steps over all images; returns their mean loss."""
        self.model.train()
        total = 0.0
        for batch in self._feed.shuffled(self._train_images, self._generator):
            loss = self._step(batch)
            if not math.isfinite(loss):
                raise DivergedError(f"the loss is {loss} at step {self.progress.step} of {self.progress.steps}")
            self._schedule.step()
            total += loss * len(batch[1])
            self.progress.step += 1
            if self._on_step:
                self._on_step(self.progress)
        return total / len(self._train_images)

    def _step(self, batch: Batch) -> float:
        images, labels = batch
        with self._autocast():
            logits = self.model(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.budget.label_smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.budget.clip_norm)
        self._optimizer.step()
        return loss.item()

    @torch.no_grad()
    def _score(self) -> tuple[float, Mixing]:
        self.model.eval()
        images: Images = self._scored
        right = 0
        with watch_mixing(self.model) as mixing, self._autocast():
            for pixels, labels in self._feed.in_order(images):
                right += int((self.model(pixels).argmax(1) == labels).sum())
            return right / len(images), mixing()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device, torch.bfloat16, enabled=self.budget.precision == "bf16")


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
    checkpoint: Path | None = None,
) -> Progress:
    """Trains a model in place through all epochs of its budget.

    Args:
        model: As of `Training`, and so are the others.
        splits: Images.
        budget: The recipe.
        split: Images that are scored.
        order_seed: Seed of order and augmentation.
        device: "cpu" or "cuda".
        progress: Filled as training goes.
        on_step: Called after every optimizer step.
        checkpoint: File that training goes on from if it is there, written after every epoch.

    Returns:
        `progress`.

    Raises:
        DivergedError: The loss is not finite.
        ResumeError: The checkpoint is that of another training.
    """
    training = Training(
        model,
        splits,
        budget,
        split=split,
        order_seed=order_seed,
        device=device,
        progress=progress,
        on_step=on_step,
    )
    run_epochs(training, checkpoint=checkpoint)
    return training.progress


def run_epochs(training: Training, *, checkpoint: Path | None = None, until: int | None = None) -> None:
    """Trains epoch after epoch.

    Args:
        training: The training.
        checkpoint: File to go on from if it is there, written after every epoch.
        until: Epoch to stop after; None for all.
    """
    if checkpoint is not None and checkpoint.exists():
        training.load(checkpoint)
    while not training.done and (until is None or len(training.progress.scores) < until):
        training.epoch()
        if checkpoint is not None:
            training.save(checkpoint)
