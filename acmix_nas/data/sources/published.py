"""Data sets with the lists that their publishers ship, read where they were unpacked."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acmix_nas.data.source import Source
from acmix_nas.data.sources._listed import Listing, Rows, each, read_lines, read_matlab, read_pairs
from acmix_nas.errors import DataError


@dataclass(frozen=True, slots=True)
class _DataSet:
    """A data set.

    Attributes:
        name: Its name.
        files: Files and folders by which it is known, below its folder; any of several that "|" divides.
        read: Takes its lists.
    """

    name: str
    files: tuple[str, ...]
    read: Callable[[Path, Listing], None]


def matches(spec: str) -> bool:
    """Whether a folder has the files of one of them."""
    return _known(Path(spec)) is not None


def open_source(spec: str) -> Source:
    """Reads the lists.

    Raises:
        DataError: A list is damaged, or the images that it names are not there.
    """
    root = Path(spec)
    known = _known(root)
    assert known is not None, "matches() looks for it"
    listing = Listing(root)
    try:
        known.read(root, listing)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{root} has files of {known.name}, but its lists are not as that has them: {type(error).__name__}: "
            f"{error}. Download them again."
        ) from error
    return listing.source("published", spec)


def _known(root: Path) -> _DataSet | None:
    return next((known for known in DATA_SETS if all(_find(root, path) for path in known.files)), None)


def _find(root: Path, path: str) -> Path | None:
    return next((root / name for name in path.split("|") if (root / name).exists()), None)


def _need(root: Path, path: str) -> Path:
    found = _find(root, path)
    assert found is not None, "the data set is known by it"
    return found


def _cub(root: Path, listing: Listing) -> None:
    """images.txt: "ID PATH"; image_class_labels.txt: "ID CLASS"; train_test_split.txt: "ID 1|0"; and classes.txt."""
    classes = {row[0]: " ".join(row[1:]) for row in read_pairs(root / "classes.txt")}
    label_of = {row[0]: classes[row[1]] for row in read_pairs(root / "image_class_labels.txt")}
    is_train = {row[0]: row[1] == "1" for row in read_pairs(root / "train_test_split.txt")}
    images = [(row[0], row[1]) for row in read_pairs(root / "images.txt")]
    for part, wanted in (("train", True), ("validation", False)):
        rows = [(path, label_of[number]) for number, path in images if is_train[number] is wanted]
        listing.add(part, root / "images", rows, root / "images.txt")


def _food(root: Path, listing: Listing) -> None:
    """meta/train.txt and meta/test.txt: "CLASS/NAME", without .jpg."""
    for part, name in (("train", "train.txt"), ("validation", "test.txt")):
        lines = read_lines(root / "meta" / name)
        rows = [(f"{line}.jpg", line.rpartition("/")[0]) for line in lines]
        listing.add(part, root / "images", rows, root / "meta" / name)


def _textures(root: Path, listing: Listing) -> None:
    """labels/train1.txt and so on, the first of ten divisions: "CLASS/NAME.jpg"."""
    for part, name in (("train", "train1.txt"), ("validation", "val1.txt")):
        rows = [(line, line.rpartition("/")[0]) for line in read_lines(root / "labels" / name)]
        listing.add(part, root / "images", rows, root / "labels" / name)
    listing.notes.append("of the ten divisions in labels/, the first is read: train1.txt and val1.txt")


def _aircraft(root: Path, listing: Listing) -> None:
    """images_variant_train.txt and images_variant_val.txt: "NUMBER VARIANT", which may have spaces."""
    base = _need(root, "data/images_variant_train.txt|images_variant_train.txt").parent
    for part, name in (("train", "images_variant_train.txt"), ("validation", "images_variant_val.txt")):
        pairs = read_pairs(base / name, split=lambda line: line.split(maxsplit=1))
        listing.add(part, base / "images", [(f"{number}.jpg", label) for number, label in pairs], base / name)


def _pets(root: Path, listing: Listing) -> None:
    """annotations/trainval.txt and annotations/test.txt: "BREED_NUMBER CLASS SPECIES NUMBER"."""
    for part, name in (("train", "trainval.txt"), ("validation", "test.txt")):
        names = [row[0] for row in read_pairs(root / "annotations" / name)]
        rows = [(f"{image}.jpg", image.rpartition("_")[0]) for image in names]
        listing.add(part, root / "images", rows, root / "annotations" / name)


def _flowers(root: Path, listing: Listing) -> None:
    """jpg/image_00001.jpg and so on, imagelabels.mat, setid.mat."""
    (labels,) = read_matlab(root / "imagelabels.mat", "labels")
    for part, name in zip(("train", "validation"), read_matlab(root / "setid.mat", "trnid", "valid"), strict=True):
        rows = [(f"image_{number:05d}.jpg", str(labels[number - 1])) for number in each(name)]
        listing.add(part, root / "jpg", rows, root / "setid.mat")


def _cars(root: Path, listing: Listing) -> None:
    """devkit/cars_train_annos.mat, cars_test_annos_withlabels.mat: fname, class; devkit/cars_meta.mat: class_names."""
    (names,) = read_matlab(root / "devkit" / "cars_meta.mat", "class_names")
    parts = {"train": ("devkit/cars_train_annos.mat", "cars_train"), "validation": (_CARS_TEST, "cars_test")}
    for part, (path, folder) in parts.items():
        file = _find(root, path)
        if file is None:
            listing.notes.append("cars_test is skipped: cars_test_annos_withlabels.mat, its labels, is not there")
            continue
        (annotations,) = read_matlab(file, "annotations")
        rows = [(str(row["fname"]), str(names[int(row["class"]) - 1])) for row in each(annotations)]
        listing.add(part, root / folder, rows, file)


def _dogs(root: Path, listing: Listing) -> None:
    """train_list.mat and test_list.mat: file_list of "CLASS/NAME.jpg"."""
    for part, path in (("train", _DOGS_TRAIN), ("validation", _DOGS_TEST)):
        file = _need(root, path)
        (paths,) = read_matlab(file, "file_list")
        rows: Rows = [(str(name), str(name).rpartition("/")[0]) for name in each(paths)]
        listing.add(part, root / "Images", rows, file)


def _places(root: Path, listing: Listing) -> None:
    """places365_train_standard.txt: "/a/airfield/00000001.jpg 0"; places365_val.txt: "NAME 0"; and categories."""
    categories = read_pairs(root / "categories_places365.txt")
    names = {number: re.sub(r"^/./", "", path) for path, number in categories}
    parts = {"train": (_PLACES_TRAIN, _PLACES_IMAGES), "validation": ("places365_val.txt", _PLACES_VAL)}
    for part, (path, folder) in parts.items():
        file = _need(root, path)
        rows = [(name.lstrip("/"), names[number]) for name, number in read_pairs(file)]
        listing.add(part, _need(root, folder), rows, file)


_CARS_TEST = "cars_test_annos_withlabels.mat|devkit/cars_test_annos_withlabels.mat"
_DOGS_TRAIN, _DOGS_TEST = "train_list.mat|lists/train_list.mat", "test_list.mat|lists/test_list.mat"
_PLACES_TRAIN = "places365_train_standard.txt|places365_train_challenge.txt"
_PLACES_IMAGES, _PLACES_VAL = "data_256_standard|data_256|data_large_standard|data_large", "val_256|val_large"

DATA_SETS = (
    _DataSet("CUB-200-2011", ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"), _cub),
    _DataSet("Food-101", ("meta/train.txt", "meta/test.txt", "images"), _food),
    _DataSet("DTD", ("labels/train1.txt", "labels/val1.txt", "images"), _textures),
    _DataSet("FGVC-Aircraft", ("data/images_variant_train.txt|images_variant_train.txt",), _aircraft),
    _DataSet("Oxford-IIIT Pet", ("annotations/trainval.txt", "annotations/test.txt", "images"), _pets),
    _DataSet("Oxford Flowers 102", ("imagelabels.mat", "setid.mat", "jpg"), _flowers),
    _DataSet("Stanford Cars", ("devkit/cars_train_annos.mat", "devkit/cars_meta.mat", "cars_train"), _cars),
    _DataSet("Stanford Dogs", (_DOGS_TRAIN, _DOGS_TEST, "Images"), _dogs),
    _DataSet(
        "Places365",
        ("categories_places365.txt", _PLACES_TRAIN, "places365_val.txt", _PLACES_IMAGES, _PLACES_VAL),
        _places,
    ),
)
LAYOUT = "a data set with the lists of its publishers: " + ", ".join(known.name for known in DATA_SETS)
