"""Stored uint8 images become normalised batches on the device."""

from collections.abc import Iterator
from typing import TypeAlias

import torch

from acmix_nas.data import Images, Splits
from acmix_nas.train.augment import normalise, shift_and_flip
from acmix_nas.train.recipe import Budget

EVAL_BATCH = 256

Batch: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Normalised images (B, C, H, W) and labels (B,) on the device."""


class Feed:
    """Batches of one source for one training.

    Args:
        splits: Gives mean and standard deviation.
        budget: Batch size and augmentation.
        device: "cpu" or "cuda".
    """

    def __init__(self, splits: Splits, budget: Budget, device: str) -> None:
        self.budget = budget
        self.device = device
        self.mean = torch.tensor(splits.mean, device=device)
        self.std = torch.tensor(splits.std, device=device)

    def shuffled(self, images: Images, generator: torch.Generator) -> Iterator[Batch]:
        """All images in random order, augmented."""
        order = torch.randperm(len(images), generator=generator)
        largest = round(self.budget.max_shift * images.images.shape[-1])
        for start in range(0, len(images), self.budget.batch_size):
            index = order[start : start + self.budget.batch_size]
            yield self._ready(shift_and_flip(images.images[index], largest, generator), images.labels[index])

    def in_order(self, images: Images) -> Iterator[Batch]:
        """All images as they are, for scoring."""
        for start in range(0, len(images), EVAL_BATCH):
            part = slice(start, start + EVAL_BATCH)
            yield self._ready(images.images[part], images.labels[part])

    def _ready(self, images: torch.Tensor, labels: torch.Tensor) -> Batch:
        pixels = normalise(images.to(self.device), self.mean, self.std)
        return pixels.contiguous(memory_format=torch.channels_last), labels.to(self.device)
