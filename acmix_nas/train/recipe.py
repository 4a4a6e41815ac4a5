"""`Budget`: how long and how a network is trained, with the optimizer and schedule that follow from it."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A training recipe: AdamW, linear warm-up, cosine decay, label smoothing.

    Attributes:
        epochs: Passes over the training images.
        images: Training images in a pass.
        batch_size: Images in a step.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay of matrices and kernels; everything else has none.
        label_smoothing: Share of the target spread over all classes.
        warmup: Share of the steps over which the learning rate rises.
        max_shift: Augmentation moves an image by up to this share of its extent; it also flips half of them.
        clip_norm: Largest norm of the gradient.
        precision: "bf16" for autocast where the processor has it, or "fp32".
    """

    epochs: int
    images: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    warmup: float = 0.1
    max_shift: float = 0.1
    clip_norm: float = 5.0
    precision: str = "fp32"

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the last batch may be small."""
        return math.ceil(self.images / self.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a record."""
        return asdict(self)


def make_optimizer(model: nn.Module, budget: Budget) -> torch.optim.Optimizer:
    """AdamW without weight decay on alpha, beta, norms, biases and what the model itself exempts."""
    exempt: set[str] = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        last = name.rpartition(".")[2]
        is_free = parameter.ndim <= 1 or last in ("alpha", "beta") or name in exempt
        (free if is_free else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": budget.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=budget.learning_rate)


def make_schedule(optimizer: torch.optim.Optimizer, budget: Budget) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear rise over the warm-up, then half a cosine to zero; one step of it for each optimizer step."""
    total = budget.epochs * budget.steps_per_epoch
    rising = max(1, round(total * budget.warmup))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
