"""What one process trains on in one step: the plan, the images and targets that come of it, and what they become."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from acmix_nas.data import Targets
from acmix_nas.train.augment.geometric import Shifts
from acmix_nas.train.ranks import rank, world


def leading(values: Any, count: int, device: str | None = None) -> Any:
    """The first of a batch's outputs or targets, floating-point tensors as float32.

    Args:
        values: A tensor (B, ...), a list of B values, or several such in a tuple or a mapping.
        count: How many.
        device: Where they are put; None leaves them.
    """
    if isinstance(values, torch.Tensor):
        part = values[:count] if device is None else values[:count].to(device)
        return part.float() if part.is_floating_point() else part
    if isinstance(values, Mapping):
        return {name: leading(value, count, device) for name, value in values.items()}
    if isinstance(values, tuple):
        return tuple(leading(value, count, device) for value in values)
    return list(values[:count])


def tensors_of(outputs: Any) -> list[torch.Tensor]:
    """The tensors (B, ...) of a network's outputs."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [tensor for part in parts for tensor in tensors_of(part)]


class Batch(NamedTuple):
    """What one process trains on in one step.

    Attributes:
        images: Normalised, (B, C, H, W), channels last, on the device.
        targets: What the task wants to be predicted for each.
        counted: Images of it that count, the first ones. A process that has one or none takes others of the step, as
            norms need two.
        whole: Images of the step over all processes.
    """

    images: torch.Tensor
    targets: Targets
    counted: int
    whole: int


class Plan(NamedTuple):
    """Which images a process trains on in one step, and how they are changed.

    Attributes:
        numbers: Which ones, (B,).
        shifts: How they move.
        boxes: What is cut out of them, (B, 4); None for all of them.
        factors: How they are recoloured, (B, 3); None for not at all.
        seed: Seed of what timm draws; 0 if it draws nothing.
        counted: As in `Batch`.
        whole: As in `Batch`.
    """

    numbers: torch.Tensor
    shifts: Shifts
    boxes: torch.Tensor | None
    factors: torch.Tensor | None
    seed: int
    counted: int
    whole: int

    def own(self) -> "Plan":
        """What this process does of it: every n-th image; others of the step follow where that is less than two."""
        if world() == 1:
            return self
        everyone = list(range(len(self.numbers)))
        own = everyone[rank() :: world()]
        others = [index for index in everyone if index not in own]
        part = torch.tensor(own + others[: max(0, 2 - len(own))])
        return self._replace(
            numbers=self.numbers[part],
            shifts=Shifts(*(draws[part] for draws in self.shifts)),
            boxes=None if self.boxes is None else self.boxes[part],
            factors=None if self.factors is None else self.factors[part],
            seed=self.seed + rank() * self.whole,
            counted=len(own),
        )


def batch_sizes(images: int, batch_size: int) -> list[int]:
    """Images of each step of an epoch: the last step has what is left, and is given one more if a single one is."""
    full, left = divmod(images, batch_size)
    sizes = [batch_size] * full + [left] * bool(left)
    if left == 1 and full and batch_size > 2:
        sizes[-2:] = [batch_size - 1, 2]
    return sizes
