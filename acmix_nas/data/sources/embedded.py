"""The images that come with the package, taken where no source is named."""

import torch

from acmix_nas.data.embedded import load_embedded
from acmix_nas.data.fingerprint import blocks_of_array, fingerprint
from acmix_nas.data.pixels import Pixels
from acmix_nas.data.source import Source

LAYOUT = "embedded, the Fashion-MNIST subset that comes with acmix-nas"


def matches(spec: str) -> bool:
    """Whether the embedded images are asked for by their name."""
    return spec == "embedded"


def open_source(spec: str) -> Source:
    """Unpacks the embedded images.

    Raises:
        DataError: They are damaged.
    """
    source = load_embedded()

    def part(split: str) -> Pixels:
        pixels = torch.from_numpy(source.images[split]).unsqueeze(1)
        return Pixels(images=pixels, labels=source.labels[split], where=f"embedded {split}")

    contents = [blocks_of_array(images, source.labels[split]) for split, images in source.images.items()]
    return Source(
        kind="embedded",
        name="fashion_mnist (embedded)",
        classes=source.classes,
        train=part("train"),
        search=part("search"),
        validation=part("report"),
        fingerprint=fingerprint(source.classes, contents),
        former=source.sha256[:16],
    )
