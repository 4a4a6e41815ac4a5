"""COCO's instances or panoptic segments as one class for every pixel.

Lin et al. 2014, arXiv 1405.0312; Kirillov et al. 2019, arXiv 1801.00868. Categories are numbered in the order of their
ids, whatever gaps these have. With instances the first class is background, smaller objects lie over larger ones, and
the pixels of crowds are not scored; with panoptic segments only void pixels are not.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from acmix_nas.data.fingerprint import Content, fingerprint
from acmix_nas.data.formats import open_image
from acmix_nas.data.masks import IGNORED, ImageFiles, Mask, check_class_count, turned
from acmix_nas.data.source import Source, first_few
from acmix_nas.data.sources import pairs
from acmix_nas.data.sources._labels import needed
from acmix_nas.errors import DataError
from acmix_nas.fields import LIST, TEXT, Origin, Rule, whole
from acmix_nas.fields import NUMBER as FINITE

BACKGROUND = "background"
KINDS = ("panoptic", "instances")
"""What annotations are of, by the beginning of their files' names; the first that is there is taken."""
LAYOUT = (
    "COCO: train2017/*.jpg, val2017/*.jpg and annotations/instances_train2017.json, instances_val2017.json, or "
    "panoptic_*.json with folders of their segments (needs acmix-nas[dense])"
)
NUMBER = whole(0, 2**53)
IMAGE = {"id": NUMBER, "file_name": TEXT, "width": whole(1, 10**6), "height": whole(1, 10**6)}
CATEGORY = {"id": NUMBER, "name": TEXT}
OBJECT = {
    "id": NUMBER,
    "image_id": NUMBER,
    "category_id": NUMBER,
    "iscrowd": whole(0, 1),
    "segmentation": Rule("polygons or a run-length encoding", lambda value: isinstance(value, list | dict)),
}
SEGMENT = {"id": NUMBER, "category_id": NUMBER}
PANOPTIC = {"image_id": NUMBER, "file_name": TEXT, "segments_info": LIST}


def matches(spec: str) -> bool:
    """Whether there are annotations of a part to train on, and no folder of masks."""
    return bool(_annotations(Path(spec))) and not pairs.matches(spec)


def open_source(spec: str) -> Source:
    """Reads the annotations of both parts.

    Raises:
        DataError: They are not as COCO's, name images that are not there, or the parts have other categories.
    """
    root = Path(spec)
    kind, files = next(iter(_annotations(root).items()))
    parts = {name: _read(root, kind, file) for name, file in files.items()}
    train = next(part for name, part in parts.items() if name.startswith("train"))
    validation = next((part for name, part in parts.items() if name.startswith("val")), None)
    if validation is None:
        raise DataError(f"{root / 'annotations'} has {kind} to train on, and no {kind}_val*.json to validate on.")
    if validation.categories != train.categories:
        raise DataError(f"the parts of {root} have other categories: they are not of one data set.")
    names = [name for _, name in sorted(train.categories.items())]
    classes = check_class_count([BACKGROUND, *names] if kind == "instances" else names, root)
    return Source(
        kind="coco",
        name=root.resolve().name,
        classes=(),
        pixel_classes=classes,
        train=train,
        validation=validation,
        fingerprint=fingerprint(classes, [train.content(), validation.content()]),
        notes=(f"classes of pixels are made of COCO's {kind}",),
    )


def _annotations(root: Path) -> dict[str, dict[str, Path]]:
    """Kind of the annotations -> name of a part -> its file, of kinds that have a part to train on."""
    folder = root / "annotations"
    found = {
        kind: {file.stem.partition("_")[2]: file for file in sorted(folder.glob(f"{kind}_*.json"))} for kind in KINDS
    }
    return {kind: files for kind, files in found.items() if any(name.startswith("train") for name in files)}


@dataclass(slots=True, kw_only=True)
class CocoPart(ImageFiles):
    """Images with COCO's annotations.

    Attributes:
        file: The annotations.
        sizes: (height, width) of each as the annotations say.
        objects: Of each image its objects, or its segments.
        segments: Of each image the file of its segments; empty for instances.
        categories: Id -> name.
    """

    file: Path
    sizes: Sequence[tuple[int, int]]
    objects: Sequence[Sequence[Mapping[str, Any]]]
    segments: Sequence[Path]
    categories: Mapping[int, str]

    def mask(self, index: int) -> Mask:
        """The class of each of its pixels.

        Raises:
            DataError: An annotation cannot be decoded, or is of an image of another size.
        """
        numbers = {number: place for place, number in enumerate(sorted(self.categories))}
        with self.open(index) as image:
            stored, said = (image.height, image.width), self.sizes[index]
            if said not in (stored, stored[::-1]):
                raise DataError(
                    f"{self.file} says that {self.name(index)} has {said[0]} x {said[1]} pixels; it has {stored[0]} x "
                    f"{stored[1]}. Correct its height and width there."
                )
            found = self._of_segments(index, numbers) if self.segments else self._of_objects(index, numbers)
            return turned(found, image, f"{self.file}", self.name(index))

    def content(self) -> Content:
        """What a fingerprint sees: the annotations and all images."""
        return self.content_of([self.file, *self.images, *self.segments])

    def _of_objects(self, index: int, numbers: Mapping[int, int]) -> Mask:
        size = self.sizes[index]
        found = np.zeros(size, dtype=np.uint8)
        drawn = [(each, _bits(each, size, self.file)) for each in self.objects[index]]
        for each, bits in sorted(drawn, key=lambda pair: (-pair[0]["iscrowd"], -int(pair[1].sum()))):
            found[bits] = IGNORED if each["iscrowd"] else 1 + numbers[each["category_id"]]
        return found

    def _of_segments(self, index: int, numbers: Mapping[int, int]) -> Mask:
        file = self.segments[index]
        try:
            with open_image(file) as image:
                colours = np.asarray(image.convert("RGB")).astype(np.int64)
        except Exception as error:  # whatever Pillow raises for a damaged file
            raise DataError(f"the segments {file} cannot be read: {type(error).__name__}: {error}.") from error
        ids = colours @ np.array([1, 256, 65536])
        found = np.full(ids.shape, IGNORED, dtype=np.uint8)
        for segment in self.objects[index]:
            found[ids == segment["id"]] = numbers[segment["category_id"]]
        return found


def _read(root: Path, kind: str, file: Path) -> CocoPart:
    """The images of a part that the annotations name, in the order of their ids."""
    origin = Origin(file, DataError)
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the annotations {file} cannot be read: {error}.") from error
    if not isinstance(content, dict) or any(
        not isinstance(content.get(name), list) for name in ("images", "annotations", "categories")
    ):
        raise DataError(f"annotations of COCO have lists of images, annotations and categories; {file} has not.")
    images = [_chosen(origin, image, IMAGE, "images") for image in content["images"]]
    categories = {
        each["id"]: each["name"] for each in (_chosen(origin, c, CATEGORY, "categories") for c in content["categories"])
    }
    images.sort(key=lambda image: image["id"])
    folder = _folder(root, file.stem.partition("_")[2])
    for what, ids in (("images", [i["id"] for i in images]), ("categories", [c["id"] for c in content["categories"]])):
        if again := [number for number, count in Counter(ids).items() if count > 1]:
            raise DataError(f"each of the {what} has an id of its own; {file} has {again[0]} more than once.")
    outside = [name for image in images if not _is_below(name := image["file_name"])]
    if outside:
        raise DataError(f"the images of {file} lie below {folder}; {outside[0]} does not.")
    paths = [folder / image["file_name"] for image in images]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{file} names {len(missing)} images that are not there: {first_few(missing, 3)}.")
    of_image: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    segments = dict[int, Path]()
    for each in content["annotations"]:
        if kind == "instances":
            found = _chosen(origin, {"iscrowd": 0, **each} if isinstance(each, dict) else each, OBJECT, "annotations")
            of_image[found["image_id"]].append(found)
        else:
            found = _chosen(origin, each, PANOPTIC, "annotations")
            segments[found["image_id"]] = file.with_suffix("") / found["file_name"]
            of_image[found["image_id"]] += [
                _chosen(origin, s, SEGMENT, "segments_info") for s in found["segments_info"]
            ]
    known = {image["id"] for image in images}
    strange = [number for number in of_image if number not in known]
    wrong = {each["category_id"] for found in of_image.values() for each in found} - set(categories)
    if strange or wrong:
        what = f"the image {strange[0]}" if strange else f"the category {min(wrong)}"
        raise DataError(f"an annotation of {file} is of {what}, which the file does not have.")
    lacking = [image["file_name"] for image in images if image["id"] not in segments] if kind == "panoptic" else []
    if lacking:
        raise DataError(f"each image has its segments; {file} has none of {first_few(lacking, 3)}.")
    return CocoPart(
        root=root,
        file=file,
        images=paths,
        sizes=[(image["height"], image["width"]) for image in images],
        objects=[of_image.get(image["id"], []) for image in images],
        segments=[segments[image["id"]] for image in images] if kind == "panoptic" else [],
        categories=categories,
    )


def _chosen(origin: Origin, values: Any, rules: Mapping[str, Rule], path: str) -> dict[str, Any]:
    """The fields of a mapping that rules name; COCO's have more."""
    if not isinstance(values, dict):
        raise origin.wrong("a mapping is needed", path)
    return origin.fields({name: values[name] for name in rules if name in values}, rules, path=path)


def _is_below(name: str) -> bool:
    """Whether a path leads down from where it begins."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _folder(root: Path, part: str) -> Path:
    for folder in (root / part, root / "images" / part):
        if folder.is_dir():
            return folder
    raise DataError(f"the images of {part} are in {root / part} or {root / 'images' / part}; neither is a folder.")


def _bits(each: Mapping[str, Any], size: tuple[int, int], file: Path) -> npt.NDArray[np.bool_]:
    """The pixels of an object, (H, W); none of one without a segmentation."""
    segmentation, where = each["segmentation"], f"the annotation {each['id']} of {file}"
    if not segmentation:
        return np.zeros(size, dtype=bool)
    if isinstance(segmentation, list) and not all(map(_is_polygon, segmentation)):
        raise DataError(f"{where} has polygons of three points or more, each two finite numbers; one of them is none.")
    mask = needed("faster_coco_eval.core.mask", "reading COCO's instances")
    try:
        runs = mask.frPyObjects(segmentation, *size) if isinstance(segmentation, list) else segmentation
        if isinstance(runs, dict) and isinstance(runs.get("counts"), list):
            runs = mask.frPyObjects(runs, *size)
        runs = mask.merge(runs) if isinstance(runs, list) else runs
        bits = np.asarray(mask.decode(runs), dtype=bool)
    except Exception as error:  # the library raises whatever its reader of runs raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{where} has run lengths that cannot be decoded: {reason}.") from error
    if bits.shape != size:
        raise DataError(f"{where} is of {bits.shape[0]} x {bits.shape[1]} pixels, its image of {size[0]} x {size[1]}.")
    return bits


def _is_polygon(value: object) -> bool:
    """Whether a value is x and y of three points or more."""
    return isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(map(FINITE.fits, value))
