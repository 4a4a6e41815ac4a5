"""Which image files are read: the extensions that are looked for, and the formats that Pillow may open."""

import io
import os
import stat
from functools import cache
from pathlib import Path

from PIL import Image

from acmix_nas.errors import DataError

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2",),
    "AVIF": (".avif",),
}
"""Pillow's names of the formats that hold photographs, with the extensions of each.

What a file holds decides, not its extension: ImageNet has a PNG file named .JPEG. Pillow has some 30 further formats;
none of them is tried, as some start other programs and most are seldom tested.
"""
EXTENSIONS = frozenset(extension for of_format in FORMATS.values() for extension in of_format)
"""What names of images end in, in lower case."""


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image: it has one of `EXTENSIONS` and is not hidden by a leading dot."""
    return name[:1] != "." and extension_of(name) in EXTENSIONS


def extension_of(name: str) -> str:
    """What a file's name ends in, from its last dot on, in lower case; nothing for a name without a dot inside."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  a Path for each of a million files takes long


def open_image(source: Path | bytes) -> Image.Image:
    """Opens an image, its pixels not yet decoded.

    Args:
        source: A file, or the bytes of one.

    Raises:
        OSError: It is no regular file (a pipe or a device is never opened), or has none of `FORMATS`.
        Exception: Whatever else Pillow raises for a damaged file.
    """
    if isinstance(source, bytes):
        return Image.open(io.BytesIO(source), formats=_readable())
    if not stat.S_ISREG(source.stat().st_mode):
        raise OSError("it is no regular file")
    return Image.open(source, formats=_readable())


def check_regular(file: Path) -> None:
    """Refuses what would block or never end when it is read: a pipe, a socket, a device.

    Raises:
        DataError: It is no regular file, or not there.
    """
    try:
        is_regular = stat.S_ISREG(file.stat().st_mode)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}. Check the path, or remove the link.") from error
    if not is_regular:
        raise DataError(
            f"a source is read from regular files; {file} is not one. Remove it, or copy its content there."
        )


@cache
def _readable() -> tuple[str, ...]:
    """The formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
