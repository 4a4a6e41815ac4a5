"""`Samples`: images of their own sizes with the class of every pixel, decoded when they are asked for."""

from collections.abc import Iterator

import numpy as np
import torch

from acmix_nas.data.decode import available_memory, broken_reason, upright
from acmix_nas.data.draw import Indices
from acmix_nas.data.masks import IGNORED, MaskedPart
from acmix_nas.data.pixels import Moments
from acmix_nas.errors import AcmixError, DataError

ROOM = 0.25
"""Share of the free memory that decoded samples are kept in."""
MEASURED = 200
"""Images, spread over all, that mean and standard deviation are measured on."""


class Samples:
    """Images and masks of a part.

    A sample is uint8 (3, H, W) and uint8 (H, W), the class of each pixel or 255. It is decoded when it is first asked
    for, and kept while there is room.

    Args:
        part: The part that they are from.
        chosen: Their places there, (N,).
        keep: Bytes that may be kept; a quarter of the free memory if None.
    """

    def __init__(self, part: MaskedPart, chosen: Indices, *, keep: int | None = None) -> None:
        self.part = part
        self.chosen = chosen
        self._left = int(ROOM * (available_memory() or 2**32)) if keep is None else keep
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """An image and its mask.

        Raises:
            DataError: One of them cannot be decoded; the message names the file.
        """
        known = self._kept.get(index)
        if known is not None:
            return known
        place = int(self.chosen[index])
        try:
            with self.part.open(place) as image:
                pixels = np.array(upright(image))
        except AcmixError:
            raise
        except Exception as error:  # Pillow lets through whatever its readers of damaged fields raise
            raise DataError(
                f"{self.part.name(place)} cannot be decoded: {broken_reason(error)}. Repair it, or leave it out."
            ) from error
        sample = torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(self.part.mask(place))
        taken = sum(tensor.numel() for tensor in sample)
        if taken <= self._left:
            self._left -= taken
            self._kept[index] = sample
        return sample

    def shown(self) -> dict[int, int]:
        """Class -> the first image with a pixel of it; the masks are read, not the images."""
        found: dict[int, int] = {}
        for index in range(len(self)):
            for number in np.unique(self.part.mask(int(self.chosen[index]))).tolist():
                found.setdefault(number, index)
        found.pop(IGNORED, None)
        return found

    def name(self, index: int) -> str:
        """Where an image lies, for messages."""
        return self.part.name(int(self.chosen[index]))

    def moments(self) -> Moments:
        """Mean and standard deviation of each channel over some of the images, of pixels in [0, 1]."""
        total, squares, count = torch.zeros(3).double(), torch.zeros(3).double(), 0
        for index in np.unique(np.linspace(0, len(self) - 1, min(MEASURED, len(self))).round().astype(int)):
            pixels = self[int(index)][0].flatten(1).double() / 255
            total += pixels.sum(1)
            squares += pixels.square().sum(1)
            count += pixels.shape[1]
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=1 / 255)
        return tuple(mean.tolist()), tuple(std.tolist())
