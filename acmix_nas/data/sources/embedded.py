"""The images that come with the package, 14,000 of Fashion-MNIST: for a first run without a download."""

import hashlib
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from acmix_nas.data.fingerprint import blocks_of_array, fingerprint
from acmix_nas.data.pixels import Pixels
from acmix_nas.data.source import Source
from acmix_nas.errors import DataError

LAYOUT = "embedded, the Fashion-MNIST subset that comes with acmix-nas"
HERE = Path(__file__).parents[1] / "embedded"


def matches(spec: str) -> bool:
    """Whether the embedded images are asked for by their name."""
    return spec == "embedded"


def open_source(spec: str, folder: Path = HERE) -> Source:
    """Unpacks the embedded images and checks them.

    Args:
        spec: "embedded".
        folder: Where fashion_mnist.xz and fashion_mnist.json lie.

    Raises:
        DataError: A file is missing or its pixels are not those that the JSON file names.
    """
    facts, pixels = _unpack(folder)
    parts, contents, start = {}, [], 0
    for split, count in facts["per_class"].items():  # class after class
        images = pixels[:, start : start + count].reshape(-1, *pixels.shape[2:])
        labels = np.repeat(np.arange(len(pixels), dtype=np.int64), count)
        parts[split] = Pixels(images=torch.from_numpy(images).unsqueeze(1), labels=labels, where=f"embedded {split}")
        contents.append(blocks_of_array(images, labels))
        start += count
    classes = tuple(facts["classes"])
    return Source(
        kind="embedded",
        name="fashion_mnist (embedded)",
        classes=classes,
        train=parts["train"],
        search=parts["search"],
        validation=parts["report"],
        fingerprint=fingerprint(classes, contents),
        former=facts["sha256"][:16],
    )


def _unpack(folder: Path) -> tuple[dict[str, Any], npt.NDArray[np.uint8]]:
    """The facts in the JSON file, and all pixels: uint8 (class, image, 28, 28)."""
    file, packed = folder / "fashion_mnist.json", folder / "fashion_mnist.xz"
    try:
        facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"the embedded images need {file}: {error}; reinstall acmix-nas.") from error
    try:
        content = lzma.decompress(packed.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise DataError(f"the embedded images {packed} cannot be read: {error}; reinstall acmix-nas.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != facts["sha256"]:
        raise DataError(
            f"the embedded images {packed} have SHA-256 {found}, not {facts['sha256']}; reinstall acmix-nas."
        )
    return facts, np.frombuffer(content, np.uint8).reshape(facts["shape"])
