"""Strong augmentation: RandAugment, random erasing, mixup and cutmix, all of them timm's own.

timm draws from the global generators of `random` and `numpy`; here each use of them is seeded and leaves no trace.
"""

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import posterize, rand_augment_transform
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from acmix_nas.data import Images

if TYPE_CHECKING:
    from acmix_nas.train.loader import Plan

Item: TypeAlias = tuple[int, int, tuple[int, int, int, int]]
"""Index of an image, seed of its augmentation, box (top, left, height, width) that is cut out."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators of `random` and `numpy` start from a seed, and afterwards are as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (timm draws from it)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


class RandAugmented(Dataset[torch.Tensor]):
    """Images that are cropped, scaled and RandAugmented by Pillow, each from a seed of its own.

    Args:
        images: uint8 images.
        size: Height and width of the results in pixels.
        recipe: timm's text, as "rand-m9-mstd0.5-inc1".
        mean: Of each channel in [0, 1]; fills what comes in from outside.
    """

    def __init__(self, images: Images, size: int, recipe: str, mean: tuple[float, ...]) -> None:
        fill = tuple(round(255 * value) for value in (mean if len(mean) == 3 else mean * 3))
        options = {"translate_const": int(0.45 * size), "img_mean": fill, "interpolation": Image.Resampling.BICUBIC}
        self._images = images.images
        self._size = size
        self._change = rand_augment_transform(recipe, options)
        for operation in self._change.ops:
            if operation.aug_fn is posterize:
                operation.aug_fn = posterized

    def __getitem__(self, item: Item) -> torch.Tensor:
        """uint8 (C, size, size)."""
        index, seed, (top, left, height, width) = item
        pixels = self._images[index].permute(1, 2, 0).numpy()
        mode = "RGB" if pixels.shape[-1] == 3 else "L"
        picture = Image.fromarray(pixels if mode == "RGB" else pixels[..., 0]).convert("RGB")
        picture = picture.crop((left, top, left + width, top + height))
        picture = picture.resize((self._size, self._size), Image.Resampling.BILINEAR)
        with seeded(seed):
            picture = self._change(picture)
        changed = np.array(picture.convert(mode))
        return torch.from_numpy(changed).reshape(self._size, self._size, -1).permute(2, 0, 1)

    def batches(self, plans: Iterator["Plan"], workers: int) -> Iterator[tuple["Plan", torch.Tensor]]:
        """The images of each plan, made by so many processes; what comes out does not depend on how many."""
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


class Mixer:
    """Mixup (arXiv 1710.09412) and cutmix (arXiv 1905.04899), one or the other for each batch.

    Args:
        mixup: alpha of mixup's Beta distribution; 0 for none.
        cutmix: alpha of cutmix's; 0 for none.
        label_smoothing: Share of the target spread over all classes.
        classes: Number of classes.
    """

    def __init__(self, mixup: float, cutmix: float, label_smoothing: float, classes: int) -> None:
        self._mix = Mixup(mixup, cutmix, label_smoothing=label_smoothing, num_classes=classes)  # type: ignore[no-untyped-call]
        self._smoothing, self._classes = label_smoothing, classes

    def __call__(self, images: torch.Tensor, labels: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixes in place, in pairs: an odd last image stays. Returns the images and their targets (B, classes)."""
        even = len(images) // 2 * 2
        spread = self._smoothing / self._classes
        targets = F.one_hot(labels, self._classes).float() * (1 - self._smoothing) + spread
        if even:
            with seeded(seed):
                images[:even], targets[:even] = self._mix(images[:even], labels[:even])
        return images, targets
