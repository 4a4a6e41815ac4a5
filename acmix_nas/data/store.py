"""A store: a folder with decoded images that are mapped into memory, never decoded again.

    index.json            what is in it and where it came from; written last, so that a folder with it is whole
    SPLIT.images.bin      uint8 (N, 3, S, S), nothing but pixels
    SPLIT.labels.npy      int64 (N,)
    SPLIT.places.npy      int64 (N,): which image of the source's part it was

SPLIT is train, search and report. While a store is written, plan.json and progress.jsonl lie beside them.
"""

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acmix_nas.data.draw import Indices
from acmix_nas.data.pixels import Moments, Pixels
from acmix_nas.errors import DataError

FORMAT = "acmix-store"
VERSION = 1
INDEX = "index.json"
PLAN = "plan.json"
SPLITS = ("train", "search", "report")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What index.json has.

    Attributes:
        fingerprint: 16 hexadecimal digits of the SHA-256 of pixels, labels and class names.
        classes: Names of the classes; the label is the index.
        size: Height and width of the images in pixels.
        images: Number of images of each split.
        moments: Mean and standard deviation of each channel over the train images, in [0, 1].
        recipe: What the subset was drawn by.
        broken: (file, reason) of each image that was left out because it could not be decoded.
        traits: How many images of each split were greyscale, CMYK, turned by EXIF and so on, all made 8-bit RGB.
        notes: What was asked for and could not be had.
        command: The command line that made it.
        versions: Of Python and the libraries that decoded.
    """

    fingerprint: str
    classes: tuple[str, ...]
    size: int
    images: dict[str, int]
    moments: Moments
    recipe: dict[str, Any]
    broken: tuple[tuple[str, str], ...]
    traits: dict[str, dict[str, int]]
    notes: tuple[str, ...]
    command: str
    versions: dict[str, str]

    def to_json(self) -> str:
        """The text of index.json."""
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1) + "\n"


def read_index(folder: Path) -> Index:
    """Reads and checks the index of a store.

    Raises:
        DataError: The store is not finished, of another version, or a file of it is missing or has another length.
    """
    content = _read_json(folder)
    if content.get("version") != VERSION:
        raise DataError(
            f"this acmix reads stores of version {VERSION}; {folder} has version {content.get('version')}. Make "
            f"it again with: {content.get('command', 'acmix data subset')}"
        )
    try:
        values = {name: content[name] for name in Index.__dataclass_fields__}
        mean, std = values["moments"]
        values["moments"] = (tuple(mean), tuple(std))
        values["broken"] = tuple((file, reason) for file, reason in values["broken"])
        index = Index(**{**values, "classes": tuple(values["classes"]), "notes": tuple(values["notes"])})
        lengths = {f"{split}.images.bin": index.images[split] * 3 * index.size**2 for split in SPLITS}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / INDEX} is damaged: {error!r}. Make the store again.") from error
    for name, length in lengths.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != length:
            raise DataError(f"{folder / name} has {length} bytes; it has {found}. Copy or make the store again.")
    return index


def map_split(folder: Path, index: Index, split: str) -> Pixels:
    """The images of a split, mapped from disk: nothing is read before it is used.

    Raises:
        DataError: The labels are missing or not those of the images.
    """
    count = index.images[split]
    try:
        labels: Indices = np.load(folder / f"{split}.labels.npy")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} has no labels of {split}: {error}. Copy or make the store again.") from error
    if labels.shape != (count,) or labels.dtype != np.int64:
        raise DataError(f"{folder} has labels of another split than {split}. Copy or make the store again.")
    return Pixels(
        images=map_images(folder / f"{split}.images.bin", count, index.size),
        labels=labels,
        where=f"{folder} {split}",
        moments=index.moments,
        mapped=True,
    )


def map_images(file: Path, count: int, size: int) -> torch.Tensor:
    """A read-only tensor (count, 3, size, size) over a file of pixels."""
    with warnings.catch_warnings():
        # torch has no read-only tensors; nothing writes to these, and the system would forbid it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="r", shape=(count, 3, size, size)))


def is_store(folder: Path) -> bool:
    """Whether a folder is a store, be it half written."""
    return any(_has_format(folder / name) for name in (INDEX, PLAN))


def _has_format(file: Path) -> bool:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _read_json(folder: Path) -> dict[str, Any]:
    if not (folder / INDEX).is_file():
        command = json.loads((folder / PLAN).read_text(encoding="utf-8"))["command"]
        raise DataError(f"the store in {folder} is half written; finish it with the same command: {command}")
    content: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return content
