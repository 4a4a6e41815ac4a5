"""One optimizer step: forward in the wanted precision, backward in parts, clip, update, average."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from acmix_nas.cost.execution import compiled
from acmix_nas.train.checkpoint import Tensors, below, load_model, load_optimizer, optimizer_state, prefixed
from acmix_nas.train.feed import Batch
from acmix_nas.train.ranks import world
from acmix_nas.train.recipe import Budget, RecipeError, learning_rate, make_optimizer

log = logging.getLogger(__name__)


class Step:
    """What turns a batch into better weights, with everything that this has to remember.

    Args:
        model: The network, on its device; trained in place.
        budget: The recipe.
        device: "cpu" or "cuda".

    Raises:
        RecipeError: The device does not do what the recipe wants.
    """

    def __init__(self, model: nn.Module, budget: Budget, device: str) -> None:
        if budget.precision == "fp16" and device != "cuda":
            raise RecipeError("precision fp16 needs a CUDA device; take bf16 or fp32 on the CPU.")
        self.model = model
        self.optimizer = make_optimizer(model, budget)
        self.average = _average(model, budget)
        self._budget = budget
        self._device = device
        self._scaler = torch.amp.GradScaler("cuda", enabled=budget.precision == "fp16")
        together = DistributedDataParallel(model) if world() > 1 else None
        self._no_sync = nullcontext if together is None else together.no_sync
        forward = model if together is None else together
        self._forward = compiled(forward, device) if budget.compile else forward

    @property
    def scored(self) -> nn.Module:
        """The network that is scored: the average of weights if there is one."""
        return self.model if self.average is None else self.average.module

    def __call__(self, batch: Batch, step: int) -> torch.Tensor:
        """Updates the weights; returns the mean loss of the batch, on the device.

        Args:
            batch: The images of this process.
            step: Number of the step, from 0.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self._budget, step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        if self._budget.clip_norm is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self._budget.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self.average is not None:
            self.average.update(self.model, step)
        return loss

    def autocast(self) -> torch.autocast:
        """The precision of a forward pass."""
        precision = self._budget.precision
        dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        return torch.autocast(self._device, dtype, enabled=precision != "fp32")

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Everything that the next step depends on: tensors, and plain values."""
        optimizer, facts = optimizer_state(self.optimizer)
        average = {} if self.average is None else self.average.module.state_dict()
        parts = {"model": self.model.state_dict(), "average": average, "optimizer": optimizer}
        tensors = {name: value for prefix, part in parts.items() for name, value in prefixed(prefix, part).items()}
        return tensors, {"optimizer": facts, "scaler": self._scaler.state_dict()}

    def load(self, path: Path, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        """Takes over what `state` said of another one.

        Raises:
            ResumeError: It is that of another network.
        """
        load_model(path, self.model, below("model", tensors))
        if self.average is not None:
            load_model(path, self.average.module, below("average", tensors))
        load_optimizer(self.optimizer, below("optimizer", tensors), facts["optimizer"])
        if facts["scaler"]:
            self._scaler.load_state_dict(dict(facts["scaler"]))

    def _backward(self, batch: Batch) -> torch.Tensor:
        """Adds up the gradients of the batch's parts; returns the mean loss of its images."""
        parts = min(self._budget.accumulate, len(batch.images))
        split = zip(batch.images.tensor_split(parts), batch.targets.tensor_split(parts), strict=True)
        mean = torch.zeros((), device=batch.images.device)
        for number, (images, targets) in enumerate(split, start=1):
            with self._gathered(number == parts):
                loss = self._loss(images, targets)
                # Processes average their gradients; this makes it the mean over all images of the step.
                share = len(images) * world() / batch.whole if batch.counted else 0.0
                self._scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
            mean += loss.detach() * (len(images) / len(batch.images))
        return mean

    def _loss(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with self.autocast():
            logits = self._forward(images)
        # Mixed targets are smoothed where they are mixed.
        smoothing = 0.0 if targets.is_floating_point() else self._budget.label_smoothing
        return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)

    def _gathered(self, last: bool) -> AbstractContextManager[None]:
        """Processes exchange gradients with the last part of a step alone."""
        return nullcontext() if last else self._no_sync()


def _average(model: nn.Module, budget: Budget) -> ModelEmaV3 | None:
    """The moving average of weights, if the training is long enough for it to forget where it began."""
    if budget.ema is None:
        return None
    if budget.total_steps < 10 / (1 - budget.ema):
        log.info(
            "no average of weights: with a decay of %g it needs %d steps, there are %d",
            budget.ema,
            round(10 / (1 - budget.ema)),
            budget.total_steps,
        )
        return None
    return ModelEmaV3(model, decay=budget.ema, use_warmup=True)
