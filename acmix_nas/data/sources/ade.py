"""ADE20K as the scene parsing challenge ships it, ADEChallengeData2016: 150 classes, 0 for everything else.

Zhou et al. 2017, Scene Parsing through ADE20K Dataset. The number 0 of a mask is not scored, and 1 to 150 become the
classes 0 to 149, here and nowhere else. Other data in this layout may have fewer classes.
"""

from collections import Counter
from pathlib import Path

from acmix_nas.data.masks import IGNORED
from acmix_nas.data.source import Source
from acmix_nas.data.sources._pairs import check_folders, images_below, masked_source, paired
from acmix_nas.errors import DataError

LAYOUT = "ADEChallengeData2016: images/training, annotations/training, the same for validation, objectInfo150.txt"
NAMES = "objectInfo150.txt"


def matches(spec: str) -> bool:
    """Whether the list of objects and the two folders are there."""
    root = Path(spec)
    return (root / NAMES).is_file() and (root / "images").is_dir() and (root / "annotations").is_dir()


def open_source(spec: str) -> Source:
    """Pairs images with annotations.

    Raises:
        DataError: A part has no images, an image has no annotation, or the names cannot be read.
    """
    root = Path(spec)
    names = read_objects(root / NAMES)
    numbers = {0: IGNORED, **{number: number - 1 for number in range(1, len(names) + 1)}}
    parts, passed_over = [], Counter[str]()
    for name in ("training", "validation"):
        images, masks = root / "images" / name, root / "annotations" / name
        check_folders("ADEChallengeData2016", images, masks)
        listed = images_below(images, passed_over=passed_over)
        parts.append(paired(root, listed, images_below(masks), numbers, passed_over=passed_over))
    note = f"0 in a mask is not scored, and 1 to {len(names)} are the classes from 0 on (reduce_zero_label)"
    return masked_source("ade", spec, names, parts[0], parts[1], notes=[note], passed_over=passed_over)


def read_objects(file: Path) -> tuple[str, ...]:
    """The first name of each object of objectInfo150.txt, in their order.

    Raises:
        DataError: It cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()[1:]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}.") from error
    names = tuple(line.split("\t")[-1].split(",")[0].strip() for line in lines if line.strip())
    seen: dict[str, int] = {}
    return tuple(
        name if (seen.setdefault(name, place) == place) else f"{name} ({place + 1})" for place, name in enumerate(names)
    )
