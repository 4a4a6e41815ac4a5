"""Images of their own sizes become batches: crops to train on, whole images to score."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from acmix_nas.data import Images, Samples, Splits, Targets
from acmix_nas.data.images import moved_to
from acmix_nas.machine import cores
from acmix_nas.sizes import pair
from acmix_nas.tasks import Task, TaskError
from acmix_nas.train.augment import normalise, own_part
from acmix_nas.train.loader import MOST_WORKERS, Batch, ahead, shuffled_batches
from acmix_nas.train.ranks import rank, world
from acmix_nas.train.recipe import Budget

MOST_SCORES = 2**26
"""Scores of pixels, 256 MB of them, that the images of one batch may have while a network is scored."""
MOST_IMAGES = 64
OF_ONE_SIZE = ("crop", "rand_augment", "erase", "mixup", "cutmix", "jitter")
"""Fields of a recipe that change images of one size only."""


class SampleFeed:
    """Batches of images of their own sizes for one training.

    Args:
        splits: Gives the size in pixels of what is trained on, mean and standard deviation, and the classes.
        budget: Batch size and augmentation.
        device: "cpu" or "cuda".
        task: Crops images and their targets.

    Raises:
        TaskError: The budget changes images in ways that are for images of one size.
    """

    def __init__(self, splits: Splits, budget: Budget, device: str, task: Task) -> None:
        wrong = [name for name in OF_ONE_SIZE if getattr(budget, name)]
        if wrong:
            raise TaskError(
                f"{', '.join(wrong)} of the recipe are for images of one size; this task scales and crops by scale, "
                "short_side and photometric. Leave them out."
            )
        self.budget = budget
        self.device = device
        self.size = pair(splits.input_size)
        self.mean = torch.tensor(splits.mean, device=device)
        self.std = torch.tensor(splits.std, device=device)
        self._fill = [round(255 * value) for value in splits.mean]
        self._classes = max(1, len(splits.classes))
        self._task = task

    def shuffled(self, images: Images, generator: torch.Generator) -> Iterator[Batch]:
        """All images in random order, cropped; of several processes each gets its share of every batch."""
        assert isinstance(images.images, Samples)
        steps: list[tuple[int, int]] = []

        def items() -> Iterator[list[tuple[int, int]]]:
            for numbers in shuffled_batches(len(images), self.budget, generator):
                seeds = torch.randint(2**31, (len(numbers),), generator=generator)
                own, counted = own_part(len(numbers))
                steps.append((counted, len(numbers)))
                yield list(zip(numbers[own].tolist(), seeds[own].tolist(), strict=True))

        crops = _Crops(images.images, self)
        workers = min(MOST_WORKERS, max(1, cores() // world() - 1)) if self.device == "cuda" else 0
        loader = DataLoader(crops, batch_sampler=items(), num_workers=workers, pin_memory=self.device == "cuda")
        for pixels, targets in loader:
            counted, whole = steps.pop(0)
            yield Batch(self._normalised(pixels), moved_to(targets, self.device), counted, whole)

    def in_order(self, images: Images) -> Iterator[tuple[torch.Tensor, Targets]]:
        """All images and masks in order, those of one size together; of several processes each gets other ones."""
        assert isinstance(images.images, Samples)
        samples, chosen = images.images, range(rank(), len(images), world())
        together: list[tuple[torch.Tensor, torch.Tensor]] = []

        def batches() -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
            nonlocal together
            for number in chosen:
                pixels, mask = samples[number]
                scored = self._task.whole(pixels, recipe=self.budget)
                most = min(MOST_IMAGES, MOST_SCORES // (self._classes * scored[0].numel()))
                if together and (together[0][0].shape != scored.shape or len(together) >= max(1, most)):
                    yield together
                    together = []
                together.append((scored, mask))
            if together:
                yield together

        made = batches()
        for batch in ahead(lambda each: each, made) if self.device == "cuda" else made:
            pixels = torch.stack([image for image, _ in batch])
            yield self._normalised(pixels), [mask.to(self.device) for _, mask in batch]

    def crop(self, samples: Samples, number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A crop of a sample."""
        image, target = samples[number]
        return self._task.crop(image, target, size=self.size, recipe=self.budget, fill=self._fill, seed=seed)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        pixels = pixels.to(self.device, non_blocking=True)
        return normalise(pixels, self.mean, self.std).contiguous(memory_format=torch.channels_last)


class _Crops(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Crops by (number of the image, seed)."""

    def __init__(self, samples: Samples, feed: SampleFeed) -> None:
        self._samples, self._feed = samples, feed

    def __getitem__(self, item: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        return self._feed.crop(self._samples, *item)
