"""Makes the embedded subset of Fashion-MNIST from Debian's package `dataset-fashion-mnist`.

    apt-get install dataset-fashion-mnist
    python tests/unit/make_fashion_mnist.py [FOLDER]

The draw is seeded and class-balanced. Images that occur twice in the source are drawn at most once, so that the
splits share no picture. Running it again gives the same pixels.
"""

import gzip
import hashlib
import json
import lzma
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

EMBEDDED = Path(__file__).parents[2] / "acmix_nas" / "data" / "embedded"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SEED = 20260101
PER_CLASS = {"train": 1000, "search": 200, "report": 200}
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

Pixels = npt.NDArray[np.uint8]


def main(folder: Path) -> None:
    """Writes fashion_mnist.xz and fashion_mnist.json into `folder`."""
    pixels = draw(DEBIAN)
    packed = pack(pixels)
    (folder / "fashion_mnist.xz").write_bytes(packed)
    (folder / "fashion_mnist.json").write_text(json.dumps(describe(pixels), indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(packed)} bytes, sha256 of the pixels {describe(pixels)['sha256']}\n")


def draw(source: Path) -> Pixels:
    """The drawn images, (classes, train + search + report images of a class, 28, 28)."""
    train, test = read_part(source, "train"), read_part(source, "t10k")
    generator = np.random.default_rng(SEED)
    seen: set[bytes] = set()
    report = [_pick(test, label, PER_CLASS["report"], generator, seen) for label in range(len(CLASSES))]
    fit = PER_CLASS["train"] + PER_CLASS["search"]
    rest = [_pick(train, label, fit, generator, seen) for label in range(len(CLASSES))]
    return np.stack([np.concatenate(pair) for pair in zip(rest, report, strict=True)])


def pack(pixels: Pixels) -> bytes:
    """The images as one xz stream: of xz, WebP and PNG sheets the smallest; it unpacks in a third of a second."""
    # The literal context of three bits with no alignment suits bytes that resemble their left neighbour.
    settings = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 3, "lp": 0, "pb": 0}
    return lzma.compress(pixels.tobytes(), format=lzma.FORMAT_XZ, filters=[settings])


def describe(pixels: Pixels) -> dict[str, Any]:
    """What stands in the JSON file beside the images."""
    return {
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "layout": "xz of uint8 (class, image, row, column); the images of a class are train, search, report in turn",
        "shape": list(pixels.shape),
        "per_class": PER_CLASS,
        "classes": list(CLASSES),
        "source": "Fashion-MNIST (Zalando SE, MIT licence) as packed by Debian in dataset-fashion-mnist",
        "seed": SEED,
    }


def read_part(source: Path, part: str) -> tuple[Pixels, Pixels]:
    """Images (N, 28, 28) and labels (N,) of a part, "train" or "t10k", from its idx files."""
    images = gzip.decompress((source / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((source / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def _pick(
    part: tuple[Pixels, Pixels], label: int, count: int, generator: np.random.Generator, seen: set[bytes]
) -> Pixels:
    images, labels = part
    chosen: list[Pixels] = []
    for index in generator.permutation(np.flatnonzero(labels == label)):
        content = images[index].tobytes()
        if content not in seen:
            seen.add(content)
            chosen.append(images[index])
        if len(chosen) == count:
            return np.stack(chosen)
    raise SystemExit(f"class {label} has only {len(chosen)} different images; {count} are needed.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else EMBEDDED)
