"""Stored uint8 images become normalised batches on the device, the next one while this one is trained on."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch

from acmix_nas.data import Images, Splits
from acmix_nas.train.augment import (
    Shifts,
    centre_boxes,
    draw_boxes,
    draw_jitter,
    draw_shifts,
    jitter,
    normalise,
    resample,
    shift_and_flip,
)
from acmix_nas.train.ranks import rank, world
from acmix_nas.train.recipe import Budget
from acmix_nas.train.strong import Erasing, Mixer, RandAugmented

EVAL_BATCH = 256
AHEAD = 3
"""Batches that are prepared before they are asked for."""
MOST_WORKERS = 16

Given = TypeVar("Given")
Made = TypeVar("Made")


class Batch(NamedTuple):
    """What one process trains on in one step.

    Attributes:
        images: Normalised, (B, C, H, W), channels last, on the device.
        targets: Labels (B,), or shares of the classes (B, classes) where images are mixed.
        counted: Images of it that count, the first ones. A process that has one or none takes others of the step, as
            norms need two.
        whole: Images of the step over all processes.
    """

    images: torch.Tensor
    targets: torch.Tensor
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


class Feed:
    """Batches of one source for one training.

    Args:
        splits: Gives the size in pixels, mean and standard deviation, and the classes.
        budget: Batch size and augmentation.
        device: "cpu" or "cuda".
    """

    def __init__(self, splits: Splits, budget: Budget, device: str) -> None:
        self.budget = budget
        self.device = device
        self.size = splits.input_size
        self.pixel_mean = splits.mean
        self.mean = torch.tensor(splits.mean, device=device)
        self.std = torch.tensor(splits.std, device=device)
        self.largest = round(budget.max_shift * splits.input_size)
        self.erase = Erasing(budget.erase, device) if budget.erase else None
        self.mix = (
            Mixer(budget.mixup, budget.cutmix, budget.label_smoothing, len(splits.classes)) if budget.mixes else None
        )

    def shuffled(self, images: Images, generator: torch.Generator) -> Iterator[Batch]:
        """All images in random order, augmented; of several processes each gets its share of every batch."""
        plans = self._plans(images, generator)

        def pick(plan: Plan) -> tuple[Plan, torch.Tensor]:
            chosen = images.images[plan.numbers]
            return plan, chosen.pin_memory() if self.device == "cuda" else chosen

        if self.budget.rand_augment:
            changed = RandAugmented(images, self.size, self.budget.rand_augment, self.pixel_mean)
            picked = changed.batches(plans, _workers() if self.device == "cuda" else 0)
        elif self.device == "cuda":
            picked = ahead(pick, plans)
        else:  # threads of its own would take the cores from the network
            picked = map(pick, plans)
        for plan, chosen in picked:
            yield self._finished(plan, chosen, images.labels[plan.numbers])

    def in_order(self, images: Images) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All images and labels as they are, for scoring; of several processes each gets other ones."""

        def pick(start: int) -> tuple[torch.Tensor, torch.Tensor]:
            part = slice(start, start + EVAL_BATCH)
            return images.images[part], images.labels[part]

        starts = range(EVAL_BATCH * rank(), len(images), EVAL_BATCH * world())
        for stored, labels in ahead(pick, starts) if self.device == "cuda" else map(pick, starts):
            pixels = stored.to(self.device)
            if pixels.shape[-1] != self.size:
                pixels = resample(pixels, centre_boxes(len(pixels), pixels.shape[-1], self.size), self.size)
            yield self._normalised(pixels), labels.to(self.device)

    def _plans(self, images: Images, generator: torch.Generator) -> Iterator[Plan]:
        order = torch.randperm(len(images), generator=generator)
        for numbers in torch.split(order, batch_sizes(len(images), self.budget.batch_size)):
            yield _share(self._plan(numbers, images.images.shape[-1], generator))

    def _plan(self, index: torch.Tensor, extent: int, generator: torch.Generator) -> Plan:
        budget, count = self.budget, len(index)
        shifts = draw_shifts(count, self.largest, generator)
        boxes = factors = None
        if budget.crop is not None:
            boxes = draw_boxes(count, extent, budget.crop, generator)
        elif extent != self.size or budget.rand_augment:
            boxes = torch.tensor([0, 0, extent, extent]).repeat(count, 1)
        if budget.jitter:
            factors = draw_jitter(count, budget.jitter, generator)
        strong = budget.rand_augment or self.erase or self.mix
        seed = int(torch.randint(2**31, (), generator=generator)) if strong else 0
        return Plan(index, shifts, boxes, factors, seed, count, count)

    def _finished(self, plan: Plan, chosen: torch.Tensor, labels: torch.Tensor) -> Batch:
        images = chosen.to(self.device, non_blocking=True)
        if plan.boxes is not None and not self.budget.rand_augment:
            images = resample(images, plan.boxes, self.size)
        images = shift_and_flip(images, plan.shifts, self.largest)
        if plan.factors is not None:
            images = jitter(images, plan.factors)
        images, targets = self._normalised(images), labels.to(self.device, non_blocking=True)
        if self.erase is not None:
            images = self.erase(images, plan.seed)
        if self.mix is not None:
            images, targets = self.mix(images, targets, plan.seed)
        return Batch(images, targets, plan.counted, plan.whole)

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        return normalise(images, self.mean, self.std).contiguous(memory_format=torch.channels_last)


def batch_sizes(images: int, batch_size: int) -> list[int]:
    """Images of each step of an epoch: the last step has what is left, and is given one more if a single one is."""
    full, left = divmod(images, batch_size)
    sizes = [batch_size] * full + [left] * bool(left)
    if left == 1 and full and batch_size > 2:
        sizes[-2:] = [batch_size - 1, 2]
    return sizes


def ahead(make: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """`map(make, items)`, in order, with `make` running in a thread up to `AHEAD` items before they are asked for."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="acmix-feed") as pool:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _share(plan: Plan) -> Plan:
    """What this process does of a step: every n-th image; others of the step follow where that is less than two."""
    if world() == 1:
        return plan
    everyone = list(range(len(plan.numbers)))
    own = everyone[rank() :: world()]
    others = [index for index in everyone if index not in own]
    part = torch.tensor(own + others[: max(0, 2 - len(own))])
    return plan._replace(
        numbers=plan.numbers[part],
        shifts=Shifts(*(draws[part] for draws in plan.shifts)),
        boxes=None if plan.boxes is None else plan.boxes[part],
        factors=None if plan.factors is None else plan.factors[part],
        seed=plan.seed + rank() * plan.whole,
        counted=len(own),
    )


def _workers() -> int:
    """Processes that augment for one that trains."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // world() - 1))
