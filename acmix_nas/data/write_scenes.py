"""Writes composed scenes as folders that other programs read: as ADE20K's, or as COCO's."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from acmix_nas.data.scenes import RECIPE, Scene
from acmix_nas.data.sources.scenes import SceneShow, open_source
from acmix_nas.errors import DataError, UsageError
from acmix_nas.files import write_text

LAYOUTS = ("ade", "coco")
Progress = Callable[[int, int], None]


def write_scenes(
    out: Path, *, layout: str, train: int | None = None, validation: int | None = None, progress: Progress | None = None
) -> Path:
    """Writes the scenes that are trained on, and those of the report split as the part to validate on.

    With "ade": images/training, annotations/training and the same for validation, objectInfo150.txt; 0 of an annotation
    is nothing, 1 and up are the classes. With "coco": train2017, val2017 and annotations/instances_*.json, the garments
    as objects with boxes and run lengths; ids of annotations begin at 1.

    Args:
        out: Folder to make; it must be empty or not there.
        layout: "ade" or "coco".
        train: Scenes to train on; all of them if None.
        validation: Scenes to validate on; all of them if None.
        progress: Called with scenes done, and in all.

    Raises:
        UsageError: There is something in the folder, or there are not as many scenes.
        DataError: A file cannot be written.
    """
    source = open_source("scenes")
    parts = {"train": (source.train, train), "validation": (source.validation, validation)}
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} already has something; choose an empty folder, or a new one.")
    shows: dict[str, tuple[SceneShow, int]] = {}
    for name, (part, wanted) in parts.items():
        assert isinstance(part, SceneShow)
        if not 1 <= (count := part.count if wanted is None else wanted) <= part.count:
            raise UsageError(f"there are 1 to {part.count:,} scenes of the {name} part; {count:,} were asked for.")
        shows[name] = part, count
    total, done = sum(count for _, count in shows.values()), 0
    names = source.pixel_classes
    try:
        for name, (show, count) in shows.items():
            write = _ade(out, name, names) if layout == "ade" else _coco(out, name, names[: show.num_garments])
            next(write)
            for index in range(count):
                write.send((index, show.scene(index)))
                done += 1
                if progress is not None:
                    progress(done, total)
            write.close()
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error}.") from error
    return out


_Writer = Any
"""A generator that is sent (number, scene) and writes it."""


def _ade(out: Path, part: str, names: tuple[str, ...]) -> _Writer:
    """Pictures and annotations of a part, and the list of classes."""
    folder = {"train": "training", "validation": "validation"}[part]
    stem = {"train": "ADE_train", "validation": "ADE_val"}[part]
    for kind in ("images", "annotations"):
        (out / kind / folder).mkdir(parents=True, exist_ok=True)
    rows = [f"{number}\t0\t0\t0\t{name}" for number, name in enumerate(names, 1)]
    write_text(out / "objectInfo150.txt", "\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n")
    while True:
        index, scene = yield
        _save(scene.image, out / "images" / folder / f"{stem}_{index:08d}.png")
        _save(scene.classes + 1, out / "annotations" / folder / f"{stem}_{index:08d}.png")


def _coco(out: Path, part: str, names: tuple[str, ...]) -> _Writer:
    """Pictures of a part, and its annotations when all are there."""
    name = {"train": "train2017", "validation": "val2017"}[part]
    (out / name).mkdir(parents=True, exist_ok=True)
    (out / "annotations").mkdir(exist_ok=True)
    content: dict[str, Any] = {
        "info": {"description": "composed scenes", **RECIPE.to_dict()},
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": each} for number, each in enumerate(names, 1)],
    }
    try:
        while True:
            index, scene = yield
            file = f"{index:012d}.png"
            _save(scene.image, out / name / file)
            height, width = scene.classes.shape
            content["images"].append({"id": index + 1, "file_name": file, "height": height, "width": width})
            first = len(content["annotations"]) + 1
            content["annotations"] += list(_annotations(scene, index + 1, first))
    finally:
        write_text(out / "annotations" / f"instances_{name}.json", json.dumps(content))


def _annotations(scene: Scene, image: int, first: int) -> Iterator[dict[str, Any]]:
    for number, found in enumerate(scene.objects, first):
        yield {
            "id": number,
            "image_id": image,
            "category_id": found.label + 1,
            "bbox": list(found.box),
            "area": int(found.mask.sum()),
            "iscrowd": 0,
            "segmentation": {"size": list(found.mask.shape), "counts": runs(found.mask)},
        }


def runs(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of a mask, column by column, that of zeros first, as COCO writes them uncompressed."""
    flat = np.concatenate([[False], mask.flatten(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    edges = np.concatenate([[0], changes, [mask.size]])
    lengths = np.diff(edges).tolist()
    return [int(length) for length in (lengths[:-1] if lengths[-1] == 0 else lengths)]


def _save(pixels: npt.NDArray[np.uint8], file: Path) -> None:
    Image.fromarray(pixels).save(file, compress_level=1)
