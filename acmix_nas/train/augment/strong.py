"""Strong augmentation: RandAugment and random erasing, both timm's own.

timm draws from the global generators of `random` and `numpy`; each use of them is seeded and leaves no trace.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import posterize, rand_augment_transform
from timm.data.random_erasing import RandomErasing
from torch.utils.data import DataLoader, Dataset

from acmix_nas.data import Images
from acmix_nas.data.draw import seeded
from acmix_nas.sizes import Pair
from acmix_nas.train.batch import Plan

Item: TypeAlias = tuple[int, int, tuple[int, int, int, int]]
"""Index of an image, seed of its augmentation, box (top, left, height, width) that is cut out."""


class RandAugmented(Dataset[torch.Tensor]):
    """Images that are cropped, scaled and RandAugmented by Pillow, each from a seed of its own.

    Args:
        images: uint8 images.
        size: Height and width of the results in pixels.
        recipe: timm's text, as "rand-m9-mstd0.5-inc1".
        mean: Of each channel in [0, 1]; fills what comes in from outside.
    """

    def __init__(self, images: Images, size: Pair, recipe: str, mean: tuple[float, ...]) -> None:
        fill = tuple(round(255 * value) for value in (mean if len(mean) == 3 else mean * 3))
        options = {
            "translate_const": int(0.45 * min(size)),
            "img_mean": fill,
            "interpolation": Image.Resampling.BICUBIC,
        }
        self._images = images.images
        self._size = size
        self._change = rand_augment_transform(recipe, options)
        for operation in self._change.ops:
            if operation.aug_fn is posterize:
                operation.aug_fn = posterized

    def __getitem__(self, item: Item) -> torch.Tensor:
        """uint8 (C, *size)."""
        index, seed, (top, left, rows, columns) = item
        pixels = self._images[index].permute(1, 2, 0).numpy()
        mode = "RGB" if pixels.shape[-1] == 3 else "L"
        picture = Image.fromarray(pixels if mode == "RGB" else pixels[..., 0]).convert("RGB")
        picture = picture.crop((left, top, left + columns, top + rows))
        height, width = self._size
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        with seeded(seed):
            picture = self._change(picture)
        changed = np.array(picture.convert(mode))
        return torch.from_numpy(changed).reshape(height, width, -1).permute(2, 0, 1)

    def batches(self, plans: Iterator[Plan], workers: int) -> Iterator[tuple[Plan, torch.Tensor]]:
        """The images of each plan, made by several processes; the result does not depend on their number."""
        drawn: deque[Plan] = deque()

        def items() -> Iterator[list[Item]]:
            for plan in plans:
                drawn.append(plan)
                seeds = range(plan.seed, plan.seed + len(plan.numbers))
                assert plan.boxes is not None
                yield list(zip(plan.numbers.tolist(), seeds, map(tuple, plan.boxes.tolist()), strict=True))

        for images in DataLoader(self, batch_sampler=items(), num_workers=workers):
            yield drawn.popleft(), images


def posterized(picture: Image.Image, bits: int, **options: Any) -> Image.Image:
    """As timm's `posterize`, black where no bit is left: what timm with Pillow 12 computes.

    timm asks for 0 bits at the largest magnitudes, or at the smallest of what decreases with them; Pillow 13 refuses.
    """
    if bits < 1:
        return Image.new(picture.mode, picture.size)
    kept: Image.Image = posterize(picture, bits, **options)  # type: ignore[no-untyped-call]
    return kept


class Erasing:
    """Random erasing (Zhong 2020, arXiv 1708.04896): noise in a rectangle of some images.

    Args:
        share: Share of images with a rectangle.
        device: Where the images lie.
    """

    def __init__(self, share: float, device: str) -> None:
        self._erase: Any = RandomErasing(share, mode="pixel", device=device)  # type: ignore[no-untyped-call]

    def __call__(self, images: torch.Tensor, seed: int) -> torch.Tensor:
        """Erases in place, with noise of torch's own generator."""
        with seeded(seed):
            erased: torch.Tensor = self._erase(images)
        return erased
