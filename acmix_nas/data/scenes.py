"""Composed scenes: garments of the embedded images pasted on drawn grounds, with exact masks and boxes.

A scene is a function of its split and number alone. The garments of the three splits are disjoint, so the scenes are.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from acmix_nas.data.draw import Indices

Grey = npt.NDArray[np.float64]
"""A picture in [0, 1], (H, W)."""
Colour = npt.NDArray[np.float64]
"""A picture in [0, 1], (H, W, 3)."""
Bits = npt.NDArray[np.bool_]

GROUNDS = ("gradient", "stripes", "noise", "checks")


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRecipe:
    """How scenes are composed. Another value of any field makes other scenes, so it comes with another version.

    Attributes:
        version: Number of the recipe.
        size: Height and width in pixels.
        garments: Least and largest number of garments in a scene.
        scale: Smallest and largest enlargement of a garment of 28 pixels, log-uniform.
        tint: Least and largest brightness of each channel of a garment.
        contrast: Least difference of these two.
        shades: Least and largest value of the two greys of a ground.
        inside: A pixel of an enlarged garment is its own above this value.
        least: Pixels of a garment that must be seen for it to be an object.
        noise: Standard deviation of the noise on all pixels.
    """

    version: int = 1
    size: int = 64
    garments: tuple[int, int] = (1, 4)
    scale: tuple[float, float] = (0.8, 1.8)
    tint: tuple[float, float] = (0.75, 1.0)
    contrast: float = 0.15
    shades: tuple[float, float] = (0.05, 0.45)
    inside: float = 0.06
    least: int = 16
    noise: float = 0.03

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


RECIPE = SceneRecipe()


class Object(NamedTuple):
    """A garment in a scene.

    Attributes:
        label: Its class among the garments.
        mask: Its pixels that are seen, (H, W).
    """

    label: int
    mask: Bits

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width, height of what is seen, in pixels."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


class Scene(NamedTuple):
    """A composed picture.

    Attributes:
        image: uint8 (H, W, 3).
        classes: Class of each pixel, uint8 (H, W): garments first, then grounds.
        objects: Its garments, those in front last.
    """

    image: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    objects: tuple[Object, ...]


def compose(
    garments: npt.NDArray[np.uint8],
    labels: Indices,
    num_garments: int,
    seed: tuple[int, int],
    recipe: SceneRecipe = RECIPE,
) -> Scene:
    """Composes a scene.

    Args:
        garments: Pictures to choose from, uint8 (N, 28, 28).
        labels: Class of each, (N,).
        num_garments: Classes of garments; those of grounds follow.
        seed: Numbers of the split and of the scene.
        recipe: How.
    """
    rng = np.random.default_rng(seed)
    picture, classes = _ground(rng, recipe, num_garments)
    masks: list[tuple[int, Bits]] = []
    for _ in range(rng.integers(recipe.garments[0], recipe.garments[1] + 1)):
        index = int(rng.integers(len(garments)))
        grey, inside = _garment(garments[index], rng, recipe)
        place = tuple(rng.integers(-side // 4, recipe.size - 3 * side // 4 + 1) for side in grey.shape)
        tint = rng.uniform(*recipe.tint, 3)
        seen, there = _placed(inside, place, recipe.size), _placed(grey, place, recipe.size)
        picture[seen] = there[seen][:, None] * tint
        masks = [(label, mask & ~seen) for label, mask in masks]
        masks.append((int(labels[index]), seen))
        classes[seen] = labels[index]
    picture += rng.normal(0.0, recipe.noise, picture.shape)
    objects = tuple(Object(label, mask) for label, mask in masks if mask.sum() >= recipe.least)
    return Scene((picture.clip(0, 1) * 255).round().astype(np.uint8), classes, objects)


def _ground(rng: np.random.Generator, recipe: SceneRecipe, first: int) -> tuple[Colour, npt.NDArray[np.uint8]]:
    """Two of the grounds, parted by a wavy line, and the class of each pixel."""
    y, x = np.mgrid[: recipe.size, : recipe.size] / recipe.size
    one, other = rng.choice(len(GROUNDS), 2, replace=False)
    along, across = _turned(x, y, rng)
    wave = rng.uniform(0.03, 0.1) * np.sin(2 * np.pi * (along * rng.uniform(1, 3) + rng.uniform()))
    side = across + wave > rng.uniform(-0.2, 0.2)
    pictures = [PATTERNS[GROUNDS[kind]](x, y, rng) for kind in (one, other)]
    one_grey, other_grey = (_shaded(pattern, rng, recipe) for pattern in pictures)
    grey = np.where(side, one_grey, other_grey)
    return np.repeat(grey[..., None], 3, 2), np.where(side, first + one, first + other).astype(np.uint8)


def _garment(pixels: npt.NDArray[np.uint8], rng: np.random.Generator, recipe: SceneRecipe) -> tuple[Grey, Bits]:
    """A garment enlarged and perhaps mirrored, and which pixels are its own: dark stripes are closed, holes filled."""
    low, high = np.log(recipe.scale)
    side = round(len(pixels) * float(np.exp(rng.uniform(low, high))))
    grey = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)) / 255
    grey = grey[:, ::-1] if rng.random() < 0.5 else grey
    closed = ndimage.binary_closing(np.pad(grey > recipe.inside, 3), iterations=2)
    return grey, ndimage.binary_fill_holes(closed)[3:-3, 3:-3]


def _placed(part: npt.NDArray[Any], place: tuple[int, ...], size: int) -> npt.NDArray[Any]:
    """A picture at a place of a larger one, which may be beyond its border; zeros around."""
    whole = np.zeros((size, size), part.dtype)
    (top, left), (height, width) = place, part.shape
    rows, columns = slice(max(0, top), min(size, top + height)), slice(max(0, left), min(size, left + width))
    whole[rows, columns] = part[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return whole


def _turned(x: Grey, y: Grey, rng: np.random.Generator) -> tuple[Grey, Grey]:
    """Coordinates from the middle, turned by a random angle."""
    angle = rng.uniform(0, 2 * np.pi)
    x, y = x - 0.5, y - 0.5
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _shaded(pattern: Grey, rng: np.random.Generator, recipe: SceneRecipe) -> Grey:
    """A pattern in two greys, the first from the darker half of the shades and the second from the lighter half."""
    middle = sum(recipe.shades) / 2
    dark, light = rng.uniform(recipe.shades[0], middle), rng.uniform(middle, recipe.shades[1])
    return np.asarray(dark + pattern * (max(light, dark + recipe.contrast) - dark))


def _gradient(x: Grey, y: Grey, rng: np.random.Generator) -> Grey:
    along, _ = _turned(x, y, rng)
    return np.asarray((along + 0.75) / 1.5)


def _stripes(x: Grey, y: Grey, rng: np.random.Generator) -> Grey:
    along, _ = _turned(x, y, rng)
    return np.asarray(np.sin(2 * np.pi * along * rng.uniform(6, 14)) > 0, dtype=np.float64)


def _noise(x: Grey, y: Grey, rng: np.random.Generator) -> Grey:
    coarse = Image.fromarray(rng.random((x.shape[0] // 2, x.shape[1] // 2)).astype(np.float32))
    return np.asarray(coarse.resize(x.shape[::-1], Image.Resampling.BILINEAR), dtype=np.float64)


def _checks(x: Grey, y: Grey, rng: np.random.Generator) -> Grey:
    squares = rng.uniform(4, 9)
    return np.asarray((np.floor(x * squares) + np.floor(y * squares)) % 2)


PATTERNS: dict[str, Callable[[Grey, Grey, np.random.Generator], Grey]] = {
    "gradient": _gradient,
    "stripes": _stripes,
    "noise": _noise,
    "checks": _checks,
}
