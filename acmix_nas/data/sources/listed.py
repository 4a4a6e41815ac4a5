"""ImageNet as it is published: `train/CLASS/*`, and validation images without class folders whose labels a list has."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acmix_nas.data.source import Source, check_classes
from acmix_nas.data.sources._files import in_order
from acmix_nas.data.sources._listed import each, read_lines, read_matlab, read_pairs
from acmix_nas.data.sources._parts import both_parts, loose_images
from acmix_nas.data.sources._walk import Walk
from acmix_nas.errors import DataError

GROUND_TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
LISTS = (
    "val_annotations.txt",
    "LOC_val_solution.csv",
    GROUND_TRUTH,
    "imagenet_2012_validation_synset_labels.txt",
    "val.txt",
    "val_map.txt",
)
"""Lists of labels: of Tiny ImageNet, of Kaggle, of the development kit, of TensorFlow, of Caffe and of CNTK."""
LAYOUT = f"train/CLASS/*.jpg and val/*.jpg with a list of labels: one of {', '.join(LISTS)}"

_FOLDERS = ("", "data", "ILSVRC2012_devkit_t12/data", "devkit/data", "ILSVRC2012_devkit_t12")
_ABOVE = 3
"""Folders above the images that Kaggle's lists may lie in."""


def matches(spec: str) -> bool:
    """Whether there are class folders to train on, and validation images outside class folders."""
    parts = both_parts(Path(spec))
    return parts is not None and loose_images(parts.validation) is not None


def open_source(spec: str) -> Source:
    """Lists the images as `folder` does; those of the validation part have the classes that a list says.

    Raises:
        DataError: As `folder.open_source`; or there is no list, or it is not one of these images.
    """
    parts = both_parts(Path(spec))
    assert parts is not None, "matches() looks for it"
    walk = Walk(parts.base, parts.train, parts.validation)
    classes = tuple(sorted({*walk.walk("train", parts.train)}, key=in_order))
    walk.walk("validation", parts.validation, in_classes=False)
    images = walk.parts["validation"]
    names = [images.names[place].name for place in range(len(images.names))]
    labels, file = _labels(names, classes, _find(parts.base, parts.validation), parts.validation)
    check_classes(classes, labels, f"{file}, whose classes should be named as the folders in {parts.train}")
    images.labels = np.array([walk.known[label] for label in labels], dtype=np.int64)
    walk.notes += parts.notes
    return walk.source("listed", spec)


def _find(base: Path, validation: Path) -> Path | None:
    """The first list that lies beside the images or above them."""
    above = [base, *base.absolute().parents][: _ABOVE + 1]
    folders = [validation, *(folder / inside for folder in above for inside in _FOLDERS)]
    return next((folder / name for name in LISTS for folder in folders if (folder / name).is_file()), None)


def _labels(names: Sequence[str], classes: tuple[str, ...], file: Path | None, where: Path) -> tuple[list[str], Path]:
    """The class of each image, and the list that has them."""
    if file is None:
        raise DataError(
            f"the images in {where} lie in no class folders, and there is no list of their labels: none of "
            f"{', '.join(LISTS)} lies in it or beside it. Copy the list there, or move the images into class folders."
        )
    if file.name in (GROUND_TRUTH, "imagenet_2012_validation_synset_labels.txt"):
        return _by_line(names, file), file
    rows = read_pairs(file, split=lambda line: line.replace(",", " ").split())
    label_of = {Path(row[0]).stem: row[1] for row in rows}
    if missing := [name for name in names if Path(name).stem not in label_of]:
        raise DataError(
            f"{file} has a label of each image in {where}; {len(missing)} have none, the first is {missing[0]}."
        )
    found = [label_of[Path(name).stem] for name in names]
    is_numbered = all(label.isdecimal() for label in found) and not {*found} <= {*classes}
    if not is_numbered:
        return found, file
    if max(map(int, found)) >= len(classes):
        raise DataError(
            f"{file} numbers the {len(classes)} classes from 0 on; it has {max(map(int, found))}. It is another's list."
        )
    return [classes[int(label)] for label in found], file


def _by_line(names: Sequence[str], file: Path) -> list[str]:
    """Labels in the order of the images' names, a line each."""
    lines = read_lines(file)
    if len(lines) != len(names):
        raise DataError(f"{file} has a line for each image; it has {len(lines):,} for {len(names):,} images.")
    if file.name != GROUND_TRUTH:
        return lines
    meta = next((path for path in (file.with_name(META), file.parent / "data" / META) if path.is_file()), None)
    if meta is None:
        raise DataError(f"{file} has numbers, whose names are in {META} of the development kit. Copy it beside {file}.")
    (synsets,) = read_matlab(meta, "synsets")
    try:
        wnid_of = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in each(synsets)}
        return [wnid_of[int(line)] for line in lines]
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"{file} and {meta} do not belong together: {type(error).__name__} {error}.") from error
