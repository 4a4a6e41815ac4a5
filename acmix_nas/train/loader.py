"""Stored uint8 images become normalised batches on the device, the next one while this one is trained on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from acmix_nas.data import Images, Splits, Targets
from acmix_nas.data.images import chosen, moved_to
from acmix_nas.machine import cores
from acmix_nas.sizes import Pair, pair
from acmix_nas.tasks import Motion, Task, TaskError
from acmix_nas.train.augment.geometric import (
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
from acmix_nas.train.augment.strong import Erasing, RandAugmented
from acmix_nas.train.batch import Batch, Plan, batch_sizes
from acmix_nas.train.ranks import rank, world
from acmix_nas.train.recipe import Budget

EVAL_BATCH = 256
AHEAD = 3
"""Batches that are prepared before they are asked for."""
MOST_WORKERS = 16

Given = TypeVar("Given")
Made = TypeVar("Made")


class Feed:
    """Batches of one source for one training.

    Args:
        splits: Gives the size in pixels, mean and standard deviation, and the classes.
        budget: Batch size and augmentation.
        device: "cpu" or "cuda".
        task: Says how targets follow their images, and how these are mixed.

    Raises:
        TaskError: The task does not mix images as the budget wants.
    """

    def __init__(self, splits: Splits, budget: Budget, device: str, task: Task) -> None:
        self.budget = budget
        self.device = device
        self.size = pair(splits.input_size)
        self.pixel_mean = splits.mean
        self.mean = torch.tensor(splits.mean, device=device)
        self.std = torch.tensor(splits.std, device=device)
        self.largest = round(budget.max_shift * self.size[0]), round(budget.max_shift * self.size[1])
        self.erase = Erasing(budget.erase, device) if budget.erase else None
        self.mix = task.mixes(budget, splits)
        self.follow = task.follow
        if budget.rand_augment and type(task).follow is not Task.follow:
            raise TaskError(
                "rand_augment turns and shears images in ways that targets cannot follow; leave it out for this task."
            )

    def shuffled(self, images: Images, generator: torch.Generator) -> Iterator[Batch]:
        """All images in random order, augmented; of several processes each gets its share of every batch."""
        plans = self._plans(images, generator)

        def pick(plan: Plan) -> tuple[Plan, torch.Tensor]:
            pixels = images.images[plan.numbers]
            return plan, pixels.pin_memory() if self.device == "cuda" else pixels

        if self.budget.rand_augment:
            changed = RandAugmented(images, self.size, self.budget.rand_augment, self.pixel_mean)
            picked = changed.batches(plans, _workers() if self.device == "cuda" else 0)
        elif self.device == "cuda":
            picked = ahead(pick, plans)
        else:  # threads of its own would take the cores from the network
            picked = map(pick, plans)
        for plan, pixels in picked:
            yield self._finished(plan, pixels, chosen(images.targets, plan.numbers))

    def in_order(self, images: Images) -> Iterator[tuple[torch.Tensor, Targets]]:
        """All images and targets in order, for scoring; of several processes each gets other ones."""

        def pick(start: int) -> tuple[torch.Tensor, Targets]:
            part = slice(start, start + EVAL_BATCH)
            return images.images[part], images.targets[part]

        starts = range(EVAL_BATCH * rank(), len(images), EVAL_BATCH * world())
        for stored, targets in ahead(pick, starts) if self.device == "cuda" else map(pick, starts):
            pixels, size = stored.to(self.device), (stored.shape[-2], stored.shape[-1])
            if size != self.size:
                boxes = centre_boxes(len(pixels), size, self.size)
                pixels = resample(pixels, boxes, self.size)
                targets = self.follow(targets, self._motion(boxes, self._still(len(pixels))))
            yield self._normalised(pixels), moved_to(targets, self.device)

    def _plans(self, images: Images, generator: torch.Generator) -> Iterator[Plan]:
        order = torch.randperm(len(images), generator=generator)
        for numbers in torch.split(order, batch_sizes(len(images), self.budget.batch_size)):
            yield self._plan(numbers, (images.images.shape[-2], images.images.shape[-1]), generator).own()

    def _plan(self, index: torch.Tensor, stored: Pair, generator: torch.Generator) -> Plan:
        budget, count = self.budget, len(index)
        shifts = draw_shifts(count, self.largest, generator)
        boxes = factors = None
        if budget.crop is not None:
            boxes = draw_boxes(count, stored, budget.crop, generator)
        elif stored != self.size or budget.rand_augment:
            boxes = centre_boxes(count, stored, self.size, share=1.0)
        if budget.jitter:
            factors = draw_jitter(count, budget.jitter, generator)
        strong = budget.rand_augment or self.erase or self.mix
        seed = int(torch.randint(2**31, (), generator=generator)) if strong else 0
        return Plan(index, shifts, boxes, factors, seed, count, count)

    def _finished(self, plan: Plan, pixels: torch.Tensor, targets: Targets) -> Batch:
        images = pixels.to(self.device, non_blocking=True)
        if plan.boxes is not None and not self.budget.rand_augment:
            images = resample(images, plan.boxes, self.size)
        images = shift_and_flip(images, plan.shifts, self.largest)
        if plan.factors is not None:
            images = jitter(images, plan.factors)
        images = self._normalised(images)
        targets = moved_to(self.follow(targets, self._motion(plan.boxes, plan.shifts)), self.device)
        if self.erase is not None:
            images = self.erase(images, plan.seed)
        if self.mix is not None:
            images, targets = self.mix(images, targets, plan.seed)
        return Batch(images, targets, plan.counted, plan.whole)

    def _still(self, count: int) -> Shifts:
        """Shifts that leave images where they are."""
        top, left = (torch.full((count, 1), largest) for largest in self.largest)
        return Shifts(top, left, torch.zeros(count, 1, dtype=torch.bool))

    def _motion(self, boxes: torch.Tensor | None, shifts: Shifts) -> Motion:
        down, right = self.largest[0] - shifts.top, self.largest[1] - shifts.left
        return Motion(boxes=boxes, down=down, right=right, mirrored=shifts.mirrored, size=self.size)

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        return normalise(images, self.mean, self.std).contiguous(memory_format=torch.channels_last)


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


def _workers() -> int:
    """Processes that augment for one that trains."""
    return max(1, min(MOST_WORKERS, cores() // world() - 1))
