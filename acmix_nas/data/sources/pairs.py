"""A plain pair of folders: images and masks, with a list of the classes."""

from collections import Counter
from pathlib import Path

from acmix_nas.data.masks import MaskFiles, same_numbers
from acmix_nas.data.source import VALIDATION, Source
from acmix_nas.data.sources._pairs import images_below, masked_source, paired, read_names
from acmix_nas.data.sources._parts import TRAIN, find_part
from acmix_nas.errors import DataError

MASKS = ("masks", "annotations", "labels", "semantic")
"""What the folder of the masks may be called, the first that is there being taken."""
CLASSES = "classes.txt"
LAYOUT = (
    f"a folder with images, masks (or {', '.join(MASKS[1:])}) and {CLASSES}, a name a line: images/train/*.jpg with "
    "masks/train/*.png and the same for val (and search), or all in one; 255 is not scored"
)


def matches(spec: str) -> bool:
    """Whether there are a folder of images, one of masks and the list of classes."""
    root = Path(spec)
    return (root / "images").is_dir() and (root / CLASSES).is_file() and _masks(root) is not None


def open_source(spec: str) -> Source:
    """Pairs images with masks by their names.

    Raises:
        DataError: A part has no images, an image has no mask, or the list of classes is wrong.
    """
    root = Path(spec)
    names = read_names(root / CLASSES)
    images, masks = root / "images", _masks(root)
    assert masks is not None, "matches() looks for it"
    passed_over = Counter[str]()
    train = find_part(images, TRAIN)
    if train is None:
        only = _part(root, images, masks, len(names), passed_over)
        return masked_source("pairs", spec, names, only, None, passed_over=passed_over)
    validation = next((found for name in VALIDATION if (found := find_part(images, (name,))) is not None), None)
    search = find_part(images, ("search",))
    training, *others = [
        None if part is None else _part(root, part, _same(masks, part.name), len(names), passed_over)
        for part in (train, validation, search)
    ]
    assert training is not None
    return masked_source("pairs", spec, names, training, others[0], search=others[1], passed_over=passed_over)


def _masks(root: Path) -> Path | None:
    return next((root / name for name in MASKS if (root / name).is_dir()), None)


def _same(masks: Path, name: str) -> Path:
    folder = find_part(masks, (name.lower(),))
    if folder is None:
        raise DataError(f"images/{name} needs its masks in {masks / name}, which is no folder.")
    return folder


def _part(root: Path, images: Path, masks: Path, classes: int, passed_over: Counter[str]) -> MaskFiles:
    listed = images_below(images, passed_over=passed_over)
    return paired(root, listed, images_below(masks), same_numbers(classes), passed_over=passed_over)
