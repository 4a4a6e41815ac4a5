"""The embedded images: 14,000 of Fashion-MNIST, for a first run without a download."""

import hashlib
import json
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acmix_nas.errors import DataError

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The embedded images by split.

    Attributes:
        images: For "train", "search" and "report", uint8 (N, 28, 28), class after class.
        labels: For the same names, int64 (N,).
        classes: Names of the classes.
        sha256: Of all pixels.
    """

    images: dict[str, npt.NDArray[np.uint8]]
    labels: dict[str, npt.NDArray[np.int64]]
    classes: tuple[str, ...]
    sha256: str


def load_embedded(folder: Path = HERE) -> Embedded:
    """Unpacks the embedded images and checks them.

    Args:
        folder: Where fashion_mnist.xz and fashion_mnist.json lie.

    Raises:
        DataError: A file is missing or its pixels are not those that the JSON file names.
    """
    facts = _read_facts(folder)
    pixels = _unpack(folder / "fashion_mnist.xz", facts["sha256"]).reshape(facts["shape"])
    images, labels, start = {}, {}, 0
    for split, count in facts["per_class"].items():
        images[split] = pixels[:, start : start + count].reshape(-1, *pixels.shape[2:])
        labels[split] = np.repeat(np.arange(len(pixels), dtype=np.int64), count)
        start += count
    return Embedded(images=images, labels=labels, classes=tuple(facts["classes"]), sha256=facts["sha256"])


def _read_facts(folder: Path) -> dict[str, Any]:
    file = folder / "fashion_mnist.json"
    try:
        facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"the embedded images need {file}: {error}; reinstall acmix-nas.") from error
    return facts


def _unpack(file: Path, sha256: str) -> npt.NDArray[np.uint8]:
    try:
        content = lzma.decompress(file.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise DataError(f"the embedded images {file} cannot be read: {error}; reinstall acmix-nas.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(f"the embedded images {file} have SHA-256 {found}, not {sha256}; reinstall acmix-nas.")
    return np.frombuffer(content, np.uint8)
