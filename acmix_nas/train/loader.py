"""Stored uint8 images become normalised batches on the device, the next one while this one is trained on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch

from acmix_nas.data import Images, Splits, Targets
from acmix_nas.data.images import chosen, moved_to
from acmix_nas.machine import cores
from acmix_nas.sizes import Pair, pair
from acmix_nas.tasks import Motion, Task, TaskError
from acmix_nas.train.augment import (
    Draws,
    Erasing,
    RandAugmented,
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

EVAL_BATCH = 256
AHEAD = 3
"""Batches that are prepared before they are asked for."""
MOST_WORKERS = 16
"""Processes that augment for one that trains."""

Given = TypeVar("Given")
Made = TypeVar("Made")


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
        drawn = self._drawn(images, generator)

        def pick(draws: Draws) -> tuple[Draws, torch.Tensor]:
            pixels = images.pixels[draws.numbers]
            return draws, pixels.pin_memory() if self.device == "cuda" else pixels

        if self.budget.rand_augment:
            changed = RandAugmented(images, self.size, self.budget.rand_augment, self.pixel_mean)
            workers = min(MOST_WORKERS, max(1, cores() // world() - 1)) if self.device == "cuda" else 0
            picked = changed.batches(drawn, workers)
        elif self.device == "cuda":
            picked = ahead(pick, drawn)
        else:  # threads of its own would take the cores from the network
            picked = map(pick, drawn)
        for draws, pixels in picked:
            yield self._batch(draws, pixels, chosen(images.targets, draws.numbers))

    def in_order(self, images: Images) -> Iterator[tuple[torch.Tensor, Targets]]:
        """All images and targets in order, for scoring; of several processes each gets other ones."""

        def pick(start: int) -> tuple[torch.Tensor, Targets]:
            part = slice(start, start + EVAL_BATCH)
            return images.pixels[part], images.targets[part]

        starts = range(EVAL_BATCH * rank(), len(images), EVAL_BATCH * world())
        for stored, targets in ahead(pick, starts) if self.device == "cuda" else map(pick, starts):
            pixels, size = stored.to(self.device), (stored.shape[-2], stored.shape[-1])
            if size != self.size:
                boxes = centre_boxes(len(pixels), size, self.size)
                pixels = resample(pixels, boxes, self.size)
                still = torch.zeros(len(pixels), 1, dtype=torch.int64)
                motion = Motion(boxes=boxes, down=still, right=still, mirrored=still.bool(), size=self.size)
                targets = self.follow(targets, motion)
            yield self._normalised(pixels), moved_to(targets, self.device)

    def _drawn(self, images: Images, generator: torch.Generator) -> Iterator[Draws]:
        for numbers in shuffled_batches(len(images), self.budget, generator):
            yield self._draw(numbers, (images.pixels.shape[-2], images.pixels.shape[-1]), generator).own()

    def _draw(self, numbers: torch.Tensor, stored: Pair, generator: torch.Generator) -> Draws:
        budget, count = self.budget, len(numbers)
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
        return Draws(numbers, shifts, boxes, factors, seed, count, count)

    def _batch(self, draws: Draws, pixels: torch.Tensor, targets: Targets) -> Batch:
        images = pixels.to(self.device, non_blocking=True)
        if draws.boxes is not None and not self.budget.rand_augment:
            images = resample(images, draws.boxes, self.size)
        images = shift_and_flip(images, draws.shifts, self.largest)
        if draws.factors is not None:
            images = jitter(images, draws.factors)
        images = self._normalised(images)
        top, left, mirrored = draws.shifts
        down, right = self.largest[0] - top, self.largest[1] - left
        motion = Motion(boxes=draws.boxes, down=down, right=right, mirrored=mirrored, size=self.size)
        targets = moved_to(self.follow(targets, motion), self.device)
        if self.erase is not None:
            images = self.erase(images, draws.seed)
        if self.mix is not None:
            images, targets = self.mix(images, targets, draws.seed)
        return Batch(images, targets, draws.counted, draws.whole)

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        return normalise(images, self.mean, self.std).contiguous(memory_format=torch.channels_last)


def shuffled_batches(images: int, budget: Budget, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Numbers of the images of each step of an epoch: all images once, then all again, as often as the budget says."""
    order = torch.cat([torch.randperm(images, generator=generator) for _ in range(budget.repeats)])
    return torch.split(order, batch_sizes(len(order), budget.batch_size))


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
