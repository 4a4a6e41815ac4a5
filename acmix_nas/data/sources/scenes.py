"""Composed scenes of the embedded garments: for a first run of a dense task without a download."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from acmix_nas.data.draw import Indices
from acmix_nas.data.fingerprint import Content, fingerprint
from acmix_nas.data.masks import Mask
from acmix_nas.data.pixels import Pixels
from acmix_nas.data.source import Source
from acmix_nas.data.sources import embedded

if TYPE_CHECKING:
    from acmix_nas.data.scenes import Scene

LAYOUT = "scenes, composed of the embedded garments, with masks"
NAME = "composed scenes (embedded)"
SIZES = {"train": 4000, "search": 500, "report": 500}
"""Scenes of each split."""


@dataclass(slots=True, kw_only=True)
class SceneShow:
    """The scenes of one split, composed when they are asked for.

    Attributes:
        split: Its number, which the scenes' seeds have.
        count: How many there are.
        garments: uint8 (N, 28, 28).
        garment_labels: Class of each, (N,).
        num_garments: Classes of garments.
    """

    split: int
    count: int
    garments: npt.NDArray[np.uint8]
    garment_labels: Indices
    num_garments: int
    labels: Indices = field(init=False)
    _last: "tuple[int, Scene] | None" = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.labels = np.zeros(self.count, dtype=np.int64)

    def name(self, index: int) -> str:
        """Its split and number."""
        return f"{NAME} {list(SIZES)[self.split]}, scene {index}"

    def scene(self, index: int) -> "Scene":
        """A scene; the last one is remembered, as its picture and its mask are asked for one after the other."""
        from acmix_nas.data.scenes import compose  # loads SciPy's image filters

        last = self._last
        if last is None or last[0] != index:
            made = compose(self.garments, self.garment_labels, self.num_garments, (self.split, index))
            last = self._last = (index, made)
        return last[1]

    def open(self, index: int) -> Image.Image:
        """The picture of a scene."""
        return Image.fromarray(self.scene(index).image)

    def mask(self, index: int) -> Mask:
        """The class of each of its pixels."""
        return self.scene(index).classes


def matches(spec: str) -> bool:
    """Whether the scenes are asked for by their name."""
    return spec == "scenes"


def open_source(spec: str) -> Source:
    """Unpacks the embedded garments; nothing is composed yet.

    Raises:
        DataError: The embedded images are damaged.
    """
    from acmix_nas.data.scenes import GROUNDS, RECIPE

    found = embedded.open_source("embedded")
    assert found.search is not None
    shows = [
        _show(number, part, len(found.classes))
        for number, part in enumerate((found.train, found.search, found.validation))
    ]
    classes = (*found.classes, *GROUNDS)
    piece = json.dumps({"recipe": RECIPE.to_dict(), "garments": found.fingerprint}).encode()
    contents = [
        Content(labels=show.labels, names=[piece], sizes=np.array([len(piece)]), read=lambda _: piece) for show in shows
    ]
    train, search, report = shows
    return Source(
        kind="scenes",
        name=NAME,
        classes=(),
        pixel_classes=classes,
        train=train,
        search=search,
        validation=report,
        fingerprint=fingerprint(classes, contents),
    )


def _show(number: int, part: object, num_garments: int) -> SceneShow:
    assert isinstance(part, Pixels)
    return SceneShow(
        split=number,
        count=list(SIZES.values())[number],
        garments=part.images[:].numpy()[:, 0],
        garment_labels=part.labels,
        num_garments=num_garments,
    )
