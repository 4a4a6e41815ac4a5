"""Pascal VOC's segmentation: palette masks whose numbers are the classes, 255 for the borders of objects.

Everingham et al. 2010, The Pascal Visual Object Classes (VOC) Challenge.
"""

from pathlib import Path

from acmix_nas.data.masks import MaskFiles, same_numbers
from acmix_nas.data.source import Source
from acmix_nas.data.sources._pairs import masked_source
from acmix_nas.errors import DataError

LAYOUT = "Pascal VOC: JPEGImages, SegmentationClass, ImageSets/Segmentation/train.txt and val.txt"
CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
LISTS = Path("ImageSets/Segmentation")


def matches(spec: str) -> bool:
    """Whether the masks and the lists of the parts are there."""
    root = Path(spec)
    return (root / "SegmentationClass").is_dir() and (root / LISTS / "train.txt").is_file()


def open_source(spec: str) -> Source:
    """Reads the lists of both parts.

    Raises:
        DataError: A list cannot be read, or an image or mask of it is missing.
    """
    root = Path(spec)
    return masked_source("voc", spec, CLASSES, _part(root, "train"), _part(root, "val"))


def _part(root: Path, name: str) -> MaskFiles:
    file = root / LISTS / f"{name}.txt"
    try:
        stems = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list {file} cannot be read: {error}.") from error
    images = [root / "JPEGImages" / f"{stem}.jpg" for stem in stems]
    masks = [root / "SegmentationClass" / f"{stem}.png" for stem in stems]
    missing = [path for path in (*images, *masks) if not path.is_file()]
    if missing:
        raise DataError(f"{file} names {len(missing)} files that are not there; the first is {missing[0]}.")
    return MaskFiles(root=root, images=images, masks=masks, numbers=same_numbers(len(CLASSES)))
