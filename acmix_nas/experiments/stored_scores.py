"""Stored predictions scored without a model: one PNG for each image of a source."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acmix_nas.data import open_source
from acmix_nas.data.formats import is_image
from acmix_nas.data.masks import IGNORED, MaskedPart, coding_of, read_numbers
from acmix_nas.data.source import first_few
from acmix_nas.errors import DataError, UsageError
from acmix_nas.tasks.segmentation import TASK, confusion, iou, means

PARTS = ("validation", "train")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScores:
    """What stored predictions score.

    Attributes:
        data: Name of the source.
        part: Which of its parts.
        images: How many were scored.
        values: Name of a number -> its value, as `acmix_nas.tasks.segmentation.means` explains them.
        classes: Names of the classes.
        iou: Intersection over union of each class, None for one without a union.
    """

    data: str
    part: str
    images: int
    values: dict[str, float]
    classes: tuple[str, ...]
    iou: tuple[float | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        by_class = dict(zip(self.classes, self.iou, strict=True))
        facts = {"data": self.data, "part": self.part, "images": self.images}
        return {**facts, **self.values, "iou": by_class}


def score_stored(
    results: Path,
    data: str | None,
    *,
    part: str = "validation",
    progress: Callable[[int, int], None] | None = None,
) -> StoredScores:
    """Scores predictions against the masks of a source.

    A prediction is a PNG with the name of its image and the numbers of the source's own masks: of ADE20K 1 to 150. A
    number that is no class's is a pixel without a class, which is never right.

    Args:
        results: Folder of the predictions.
        data: The source; None for the composed scenes.
        part: "validation" or "train".
        progress: Called with images done, and in all.

    Raises:
        DataError: A prediction is missing, of another size or no PNG of numbers.
        UsageError: There is no such folder.
        TaskError: The source has no masks.
    """
    if not results.is_dir():
        raise UsageError(f"predictions are in a folder, a PNG for each image; {results} is no folder.")
    source = open_source(TASK.source if data is None else data)
    TASK.check(source)
    truth = getattr(source, part)
    assert isinstance(truth, MaskedPart)
    names, count = source.pixel_classes, len(truth.labels)
    files = {file.stem: file for file in sorted(results.iterdir()) if is_image(file.name)}
    stems = [stem_of(truth.name(index)) for index in range(count)]
    if missing := [stem for stem in stems if stem not in files]:
        raise DataError(
            f"each image of the {part} part of {source.name} has a prediction of its name; {len(missing)} of {count} "
            f"have none in {results}: {first_few(missing, 3)}."
        )
    table = np.full(2**16, len(names), dtype=np.int64)
    coding = coding_of(truth)
    table[[coding[place] for place in range(len(names))]] = range(len(names))
    matrix = torch.zeros(len(names), len(names) + 1, dtype=torch.int64)
    for index, stem in enumerate(stems):
        mask, found = truth.mask(index), read_numbers(files[stem])
        if found.shape != mask.shape:
            raise DataError(
                f"a prediction has the size of its image; {files[stem]} has {found.shape[0]} x {found.shape[1]}, "
                f"{truth.name(index)} has {mask.shape[0]} x {mask.shape[1]}."
            )
        predictions = torch.from_numpy(table[found.clip(0, len(table) - 1)])
        matrix += confusion(predictions, torch.from_numpy(mask), len(names), len(names) + 1)
        if progress is not None:
            progress(index + 1, count)
    if not int(matrix.sum()):
        raise DataError(f"no pixel of the {part} part of {source.name} has a class: there is nothing to score.")
    return StoredScores(data=source.name, part=part, images=count, values=means(matrix), classes=names, iou=iou(matrix))


def stem_of(name: str) -> str:
    """What a prediction of an image is called: the image's file name, or its number for one that is in no file."""
    return Path(name).stem if is_image(name) else name.rpartition(" ")[2].zfill(8)


def in_coding(classes: torch.Tensor, part: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Predicted classes (H, W) as the numbers of a source's own masks, to be written as a PNG."""
    coding = coding_of(part)
    table = np.array([coding.get(place, IGNORED) for place in range(256)], dtype=np.uint8)
    return np.asarray(table[classes.cpu().numpy()])
