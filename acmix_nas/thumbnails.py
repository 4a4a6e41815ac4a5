"""Small pictures as text, for records: an image as JPEG, the class of each pixel as PNG, both in base64."""

import base64
import binascii
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # reports of studies without pictures do without Pillow
    from PIL import Image

LONGEST = 96
"""Pixels of the longer side; larger pictures are scaled down to it, classes to the nearest."""
QUALITY = 85


def image_text(pixels: NDArray[np.uint8]) -> str:
    """An image of bytes (H, W, 3)."""
    from PIL import Image

    image = Image.fromarray(pixels)
    return file_text(image.resize(_small(image.size), Image.Resampling.LANCZOS), "JPEG", quality=QUALITY)


def classes_text(classes: NDArray[np.uint8]) -> str:
    """The class of each pixel as bytes (H, W), 255 for none."""
    from PIL import Image

    image = Image.fromarray(classes)
    return file_text(image.resize(_small(image.size), Image.Resampling.NEAREST), "PNG", optimize=True)


def read_image(text: str) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of `image_text`.

    Raises:
        ValueError: It is no picture of such a size.
    """
    return _read(text, "JPEG", "RGB")


def read_classes(text: str) -> NDArray[np.uint8]:
    """The classes (H, W) of `classes_text`.

    Raises:
        ValueError: It is no picture of such a size.
    """
    return _read(text, "PNG", "L")


def _small(size: tuple[int, int]) -> tuple[int, int]:
    factor = min(1.0, LONGEST / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def file_text(image: "Image.Image", form: str, **options: int | bool) -> str:
    """A picture as a file of a format, in base64."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _read(text: str, form: str, mode: str) -> NDArray[np.uint8]:
    """Records may come from anywhere: what is too large is refused before it is decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=[form]) as image:
            if max(image.size) > LONGEST or image.mode != mode:
                raise ValueError(f"it has {image.width} x {image.height} pixels of mode {image.mode}")
            return np.array(image)
    except (OSError, binascii.Error, SyntaxError) as error:
        raise ValueError(f"it is no {form} file in base64: {error}") from error
