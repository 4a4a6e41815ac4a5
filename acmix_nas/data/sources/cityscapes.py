"""Cityscapes with fine annotations: the 34 numbers of labelIds become the 19 classes that are scored.

Cordts et al. 2016, The Cityscapes Dataset for Semantic Urban Scene Understanding; the table is that of its scripts.
"""

from pathlib import Path

from acmix_nas.data.masks import IGNORED, MaskFiles, same_numbers
from acmix_nas.data.source import Source
from acmix_nas.data.sources._pairs import check_folders, images_below, masked_source, paired

LAYOUT = "Cityscapes: leftImg8bit/train/CITY/*_leftImg8bit.png, gtFine/train/CITY/*_gtFine_labelIds.png, and val"
CLASSES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
SCORED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Numbers in labelIds of the classes, in their order."""
IDS = {**dict.fromkeys(range(34), IGNORED), **{number: place for place, number in enumerate(SCORED)}}
IMAGE, TRAIN_IDS, LABEL_IDS = "_leftImg8bit", "_gtFine_labelTrainIds", "_gtFine_labelIds"


def matches(spec: str) -> bool:
    """Whether there are images and fine annotations."""
    root = Path(spec)
    return (root / "leftImg8bit" / "train").is_dir() and (root / "gtFine" / "train").is_dir()


def open_source(spec: str) -> Source:
    """Pairs images with annotations, labelTrainIds where they are there.

    Raises:
        DataError: A part has no images, or an image has no annotation.
    """
    root = Path(spec)
    return masked_source("cityscapes", spec, CLASSES, _part(root, "train"), _part(root, "val"))


def _part(root: Path, name: str) -> MaskFiles:
    images, annotations = root / "leftImg8bit" / name, root / "gtFine" / name
    check_folders("Cityscapes", images, annotations)
    files = images_below(annotations, deep=True)
    trained = [file for file in files if file.stem.endswith(TRAIN_IDS)]
    numbers, suffix = (same_numbers(len(CLASSES)), TRAIN_IDS) if trained else (IDS, LABEL_IDS)
    return paired(
        root,
        [file for file in images_below(images, deep=True) if file.stem.endswith(IMAGE)],
        [file for file in files if file.stem.endswith(suffix)],
        numbers,
        image_name=lambda file: file.stem.removesuffix(IMAGE),
        mask_name=lambda file: file.stem.removesuffix(suffix),
    )
