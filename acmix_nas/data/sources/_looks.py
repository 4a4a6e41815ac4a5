"""What a folder or file looks like that no kind of source reads, and what would be read instead."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acmix_nas.data.formats import is_image
from acmix_nas.data.sources import table
from acmix_nas.data.sources._parts import class_folders, has_images, subfolders

_ARCHIVES = (".zip", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst")
_START = 2**16
"""Bytes of a JSON file that are looked at."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A layout that is known and not read.

    Attributes:
        name: What it is.
        fix: What to do.
        is_it: Whether a folder has it.
    """

    name: str
    fix: str
    is_it: Callable[[Path], bool]


def looks_like(path: Path) -> str:
    """One or two sentences on what a source looks like; nothing for what is not known.

    Args:
        path: A folder or file that is there.
    """
    if path.is_file():
        return _of_file(path)
    look = next((look for look in LOOKS if look.is_it(path)), None)
    if look is not None:
        return f"It looks like {look.name}. {look.fix}"
    return _of_tables(path) or _of_images(path)


def _of_file(file: Path) -> str:
    if file.suffix.lower() in _ARCHIVES:
        return "It looks like an archive. Unpack it, and give the folder."
    if is_image(file.name):
        return f"It looks like one image. Give the folder of the class folders, as {file.parent.parent}."
    if file.suffix.lower() in (".parquet", *table.KINDS):
        return f"It looks like a table. Give the folder that it lies in: {file.parent}."
    return ""


def _of_tables(root: Path) -> str:
    for found in table.find_tables(root):
        if found.columns:
            return (
                f"It has a table {found.file.name}, with the columns {', '.join(found.columns[:8])}. A table of labels "
                f"has one of {', '.join(table.IMAGE)}, and one of {', '.join(table.LABEL)}. Rename them."
            )
    return ""


def _of_images(root: Path) -> str:
    if has_images(root):
        return (
            "It looks like images without labels. Put them into folders named after their class, or add labels.csv "
            "with the columns file_name and label."
        )
    inside = subfolders(root)
    if len(class_folders(root)) == 1:
        return "It looks like the images of one class. Classification needs two class folders or more."
    for folder in inside:
        if len(class_folders(folder)) > 1:
            return f"{folder} looks like a folder of class folders. Give that one."
    packed = next((file.name for file in sorted(root.iterdir()) if file.suffix.lower() in _ARCHIVES), None)
    return f"It has the archive {packed}. Unpack it." if packed else ""


def _has(*patterns: str) -> Callable[[Path], bool]:
    """Whether each of some patterns has a file or folder; "|" divides those of which one is enough."""
    return lambda root: all(
        any(True for pattern in either.split("|") for _ in root.glob(pattern)) for either in patterns
    )


def _is_coco(root: Path) -> bool:
    files = [file for folder in ("", "annotations", "train", "valid") for file in (root / folder).glob("*.json")]
    return any(all(word in _start_of(file) for word in ('"images"', '"annotations"')) for file in files[:10]) or any(
        file.name.startswith(("instances_", "panoptic_", "captions_")) for file in files
    )


def _is_inaturalist(root: Path) -> bool:
    return any('"annotations"' in _start_of(file) and '"category_id"' in _start_of(file) for file in _jsons(root))


def _is_saved_dataset(root: Path) -> bool:
    return any((root / name).is_file() for name in ("dataset_dict.json", "state.json")) and any(
        True for _ in root.rglob("*.arrow")
    )


def _is_mosaic(root: Path) -> bool:
    files = [root / "index.json", *(folder / "index.json" for folder in subfolders(root))]
    return any('"shards"' in _start_of(file) for file in files if file.is_file())


def _jsons(root: Path) -> list[Path]:
    return sorted(root.glob("*.json"))[:10]


def _start_of(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(_START).decode(errors="replace")
    except OSError:
        return ""


_CLASS_FOLDERS = "acmix reads a folder for each class: train/CLASS/*.jpg and val/CLASS/*.jpg."
_LABELS = "acmix reads a class for each image: class folders, or labels.csv with file_name and label."

LOOKS = (
    _Look("COCO: boxes and masks, many to an image, and no class of the image", _LABELS, _is_coco),
    _Look(
        "Pascal VOC: boxes and masks, many to an image, and no class of the image",
        _LABELS,
        _has("Annotations|VOC*/Annotations", "JPEGImages|VOC*/JPEGImages"),
    ),
    _Look(
        "YOLO: boxes in a text file for each image, and no class of the image",
        _LABELS,
        _has("labels|*/labels", "images|*/images", "labels/*.txt|labels/*/*.txt|*/labels/*.txt"),
    ),
    _Look(
        "images with masks for segmentation, as ADE20K and Cityscapes have them",
        f"{_LABELS} For --task segmentation give ADEChallengeData2016 as it is shipped, or add classes.txt, a name "
        "a line.",
        _has("annotations/training|annotations/train|gtFine|masks", "images/training|images/train|leftImg8bit|images"),
    ),
    _Look(
        "CIFAR's Python files",
        "Give torch/cifar10:FOLDER or torch/cifar100:FOLDER, where FOLDER is the one above cifar-10-batches-py or "
        "cifar-100-python.",
        _has("data_batch_1|cifar-10-batches-py|cifar-100-python|cifar-10-batches-py/data_batch_1|batches.meta"),
    ),
    _Look(
        "MNIST's files",
        "Give torch/mnist:FOLDER or torch/fashion_mnist:FOLDER, where FOLDER is as torchvision has it: "
        "FOLDER/MNIST/raw or FOLDER/FashionMNIST/raw.",
        _has("*-idx3-ubyte*|*/raw/*-idx3-ubyte*|raw/*-idx3-ubyte*"),
    ),
    _Look(
        "a data set that `save_to_disk` of Hugging Face's datasets wrote",
        "acmix reads its Parquet files: write them with to_parquet, as train.parquet and validation.parquet.",
        _is_saved_dataset,
    ),
    _Look(
        "MosaicML's streaming shards",
        "acmix reads WebDataset shards, Parquet files or class folders: convert them.",
        _is_mosaic,
    ),
    _Look(
        "TFRecord files",
        "acmix reads WebDataset shards, Parquet files or class folders: convert them.",
        _has("*.tfrecord*|*/*.tfrecord*|train-00000-of-*[0-9]|validation-00000-of-*[0-9]"),
    ),
    _Look("an LMDB database", f"Unpack it. {_CLASS_FOLDERS}", _has("data.mdb|*/data.mdb|*.lmdb|*.mdb")),
    _Look("an HDF5 file", f"Unpack it. {_CLASS_FOLDERS}", _has("*.h5|*.hdf5|*/*.h5|*/*.hdf5")),
    _Look("FFCV's files", f"Give what they were made of. {_CLASS_FOLDERS}", _has("*.beton")),
    _Look("NumPy arrays", f"Write them as images. {_CLASS_FOLDERS}", _has("*.npy|*.npz")),
    _Look("annotations as iNaturalist has them", _LABELS, _is_inaturalist),
)
