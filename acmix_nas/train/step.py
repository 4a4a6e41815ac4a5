"""One optimizer step: forward in the wanted precision, backward in micro-batches, clip, update, average."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from acmix_nas.cost.execution import compiled
from acmix_nas.data import Targets
from acmix_nas.tasks import Task
from acmix_nas.train.checkpoint import Tensors, below, load_model, load_optimizer, optimizer_state, prefixed
from acmix_nas.train.gradients import tiny_maps_in_float32
from acmix_nas.train.loader import Batch
from acmix_nas.train.ranks import world
from acmix_nas.train.recipe import Budget, RecipeError, learning_rate, make_optimizer
from acmix_nas.train.scoring import leading

log = logging.getLogger(__name__)


class TrainStep:
    """What turns a batch into better weights, with everything that this has to remember.

    A gradient whose norm is no number, or infinite, changes no weight: the step is skipped.

    Args:
        model: The network, on its device; trained in place.
        budget: The recipe.
        device: "cpu" or "cuda".
        task: Says what the loss is.

    Attributes:
        skipped: Norm of the last step's gradient if the step was skipped for it; None if it was taken.

    Raises:
        RecipeError: The device does not do what the recipe wants.
    """

    skipped: float | None = None

    def __init__(self, model: nn.Module, budget: Budget, device: str, task: Task) -> None:
        if budget.precision == "fp16" and device != "cuda":
            raise RecipeError("precision fp16 needs a CUDA device; take bf16 or fp32 on the CPU.")
        self.model = model
        self.optimizer = make_optimizer(model, budget)
        self.average = _average(model, budget)
        self._budget = budget
        self._task = task
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

        Raises:
            RecipeError: A batch norm is given a single value a channel.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self._budget, step)
        self.optimizer.zero_grad(set_to_none=True)
        with tiny_maps_in_float32() if self._device == "cpu" else nullcontext():
            loss = self._backward(batch)
        self.skipped = self._update()
        if self.average is not None and self.skipped is None:
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

    def _update(self) -> float | None:
        """Changes the weights; or leaves them and returns the norm of the gradient, which is not finite.

        A scaler meets such gradients by design, lowers its scale and goes on. Only where it has no room left, or finds
        nothing wrong, is the gradient itself not finite.
        """
        self._scaler.unscale_(self.optimizer)
        weights = list(self.model.parameters())
        norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        if norm.isfinite():
            if self._budget.clip_norm is not None:
                nn.utils.clip_grads_with_norm_(weights, self._budget.clip_norm, norm)
            self._scaler.step(self.optimizer)
            self._scaler.update()
            return None
        scale = self._scaler.get_scale()
        self._scaler.update()
        return None if 1 < scale > self._scaler.get_scale() else float(norm)

    def _backward(self, batch: Batch) -> torch.Tensor:
        """Adds up the gradients of the micro-batches; returns the mean loss of the batch's images."""
        count = _micro_batches(batch, self._budget)
        micro_batches = zip(batch.images.tensor_split(count), _split(batch.targets, count), strict=True)
        mean = torch.zeros((), device=batch.images.device)
        for number, (images, targets) in enumerate(micro_batches, start=1):
            counted = len(images) if batch.counted == len(batch.images) else batch.counted
            with nullcontext() if number == count else self._no_sync():  # gradients are exchanged once a step
                loss = self._loss(images, targets, counted or len(images))
                # Processes average their gradients; this makes it the mean over all images of the step.
                self._scaler.scale(loss * (counted * world() / batch.whole)).backward()  # type: ignore[no-untyped-call]
            mean += loss.detach() * (len(images) / len(batch.images))
        return mean

    def _loss(self, images: torch.Tensor, targets: Targets, counted: int) -> torch.Tensor:
        """Mean loss of the first images; the others are for the norms."""
        try:
            with self.autocast():
                outputs = self._forward(images)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RecipeError(
                "a batch norm needs more than one value a channel, and here it has one image on a map of 1 x 1 pixel. "
                "Train on more images at once (batch_size, and batch_size / accumulate, of 2 or more for each "
                "process), or on larger ones."
            ) from error
        return self._task.loss(leading(outputs, counted), targets[:counted], self._budget)


def _split(targets: Targets, count: int) -> Sequence[Targets]:
    """As `torch.Tensor.tensor_split`, of a list too."""
    if isinstance(targets, torch.Tensor):
        return targets.tensor_split(count)
    places = torch.arange(len(targets)).tensor_split(count)
    return [[targets[place] for place in piece.tolist()] for piece in places]


def _micro_batches(batch: Batch, budget: Budget) -> int:
    """Micro-batches of a batch; none has a single image unless those of a whole batch have."""
    images = len(batch.images)
    if batch.counted < images:
        return 1
    of_whole = budget.batch_size // world() // budget.accumulate
    return min(budget.accumulate, images if of_whole < 2 else max(1, images // 2))


def _average(model: nn.Module, budget: Budget) -> ModelEmaV3 | None:
    """The moving average of weights, if the training is long enough for it to forget where it began."""
    if budget.ema is None:
        return None
    if budget.total_steps < 10 / (1 - budget.ema):
        text = "no average of weights: with a decay of %g it needs %d steps, there are %d"
        log.info(text, budget.ema, round(10 / (1 - budget.ema)), budget.total_steps)
        return None
    return ModelEmaV3(model, decay=budget.ema, use_warmup=True)
