"""A store: a folder with decoded images that `acmix data subset` made and that are read as they are needed.

    index.json            what is in it and where it came from; written last, so that a folder with it is whole
    SPLIT.images.bin      uint8 (N, 3, H, W), nothing but pixels
    SPLIT.checksums.npy   uint64 (N,): of each image's pixels
    SPLIT.labels.npy      int64 (N,)
    SPLIT.places.npy      int64 (N,): which image of the source's part it was

SPLIT is train, search and report. While a store is written, plan.json and progress.jsonl lie beside them. Stores of
acmix-nas 0.1, of version 1, have no checksums.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acmix_nas.data.draw import Indices
from acmix_nas.data.fingerprint import PREFIX, WHOLE, blocks_of_files, fingerprint
from acmix_nas.data.pixels import Moments, Pixels
from acmix_nas.data.source import Source, digest
from acmix_nas.data.stored import Checksums, StoredImages
from acmix_nas.errors import DataError
from acmix_nas.fields import COUNT, MAPPING, NUMBER, TEXT, Origin, list_of, whole
from acmix_nas.sizes import Size, pair, size_of, size_rule

LAYOUT = "a store made by `acmix data subset`"
FORMAT = "acmix-store"
VERSION = 2
READ = (1, VERSION)
"""Versions that are read."""
INDEX = "index.json"
PLAN = "plan.json"
SPLITS = ("train", "search", "report")
MOST, MOST_PIXELS = 10**12, 10**5
RULES = {
    **dict.fromkeys(("fingerprint", "former", "command"), TEXT),
    "classes": list_of(TEXT, 2),
    "size": size_rule(most=MOST_PIXELS),
    "moments": list_of(list_of(NUMBER, 3, 3), 2, 2),
    "broken": list_of(list_of(TEXT, 2, 2)),
    "notes": list_of(TEXT),
    **dict.fromkeys(("images", "recipe", "traits", "versions"), MAPPING),
    "version": COUNT,
}
"""The fields of index.json."""


def matches(spec: str | Path) -> bool:
    """Whether a folder is a store, complete or not."""
    return any(_has_format(Path(spec, name)) for name in (INDEX, PLAN))


def open_source(spec: str) -> Source:
    """Reads a small store into memory, of `WHOLE` bytes at most, and opens the files of a larger one.

    Raises:
        DataError: It is half written, of another version or damaged.
    """
    folder = Path(spec)
    index = read_index(folder)
    splits = {name: open_split(folder, index, name) for name in SPLITS}
    mark = _fingerprint(folder, index, splits)
    is_small = sum(images.shape.numel() for images, _ in splits.values()) <= WHOLE
    parts = {
        name: Pixels(
            images=images[:] if is_small else images,
            labels=labels,
            where=f"{folder} {name}",
            moments=index.moments,
            stored=True,
        )
        for name, (images, labels) in splits.items()
    }
    return Source(
        kind="store",
        name=folder.resolve().name,
        classes=index.classes,
        train=parts["train"],
        search=parts["search"],
        validation=parts["report"],
        fingerprint=mark,
        former=index.former,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What index.json has.

    Attributes:
        fingerprint: Tells stores apart by class names, size, labels and checksums, or in version 1 as `former`.
        former: 16 hexadecimal digits of the SHA-256 of class names, size, labels and pixels, as acmix-nas 0.1 had it.
        classes: Names of the classes; the label is the index.
        size: Height and width of the images in pixels, one number for squares.
        images: Number of images of each split.
        moments: Mean and standard deviation of each channel over the train images, in [0, 1].
        recipe: What the subset was drawn by.
        broken: (file, reason) of each image that was left out because it could not be decoded.
        traits: How many images of each split were greyscale, CMYK, turned by EXIF and so on, all made 8-bit RGB.
        notes: What was asked for and could not be had, and what of the source was not read.
        command: The command line that made it.
        versions: Of Python and the libraries that decoded.
    """

    fingerprint: str
    former: str
    classes: tuple[str, ...]
    size: Size
    images: dict[str, int]
    moments: Moments
    recipe: dict[str, Any]
    broken: tuple[tuple[str, str], ...]
    traits: dict[str, dict[str, int]]
    notes: tuple[str, ...]
    command: str
    versions: dict[str, str]
    version: int = VERSION

    def to_json(self) -> str:
        """The text of index.json."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"


def read_index(folder: Path) -> Index:
    """Reads and checks the index of a store.

    Raises:
        DataError: The store is not finished, of another version, or a file of it is missing or has another length.
    """
    if not (folder / INDEX).is_file():
        command = _loaded(folder / PLAN).get("command", "acmix data subset")
        raise DataError(f"the store in {folder} is incomplete; finish it with the same command: {command}")
    content = _loaded(folder / INDEX)
    if content.get("version") not in READ:
        raise DataError(
            f"this acmix reads stores of version {READ[0]} to {READ[-1]}; {folder} has version "
            f"{content.get('version')}. Make it again with: {content.get('command', 'acmix data subset')}"
        )
    content.setdefault("former", content.get("fingerprint"))
    origin = Origin(f"{folder / INDEX} is damaged", DataError, "Make the store again.")
    values = origin.fields({name: content[name] for name in RULES if name in content}, RULES)
    counts = origin.fields(values["images"], dict.fromkeys(SPLITS, whole(1, MOST)), path="images")
    mean, std = values["moments"]
    values |= {name: tuple(values[name]) for name in ("classes", "notes")}
    values |= {"size": size_of(values["size"]), "moments": (tuple(mean), tuple(std))}
    index = Index(**{**values, "broken": tuple((file, reason) for file, reason in values["broken"])})
    lengths = {f"{split}.images.bin": count * 3 * prod(pair(index.size)) for split, count in counts.items()}
    for name, length in lengths.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != length:
            raise DataError(f"{folder / name} has {length} bytes; it has {found}. Copy or make the store again.")
    return index


def open_split(folder: Path, index: Index, split: str) -> tuple[StoredImages, Indices]:
    """Images of a split, of which nothing is read before it is used, and their labels.

    Raises:
        DataError: Labels or checksums are missing or not those of the images.
    """
    count = index.images[split]
    labels: Indices = _load(folder, split, "labels", count, np.int64)
    if labels.min() < 0 or labels.max() >= len(index.classes):
        raise DataError(f"{folder} has labels of another split than {split}. Copy or make the store again.")
    checksums = None if index.version == 1 else _load(folder, split, "checksums", count, np.uint64)
    return StoredImages(folder / f"{split}.images.bin", count, index.size, checksums), labels


def fingerprint_of(classes: Sequence[str], size: Size, parts: Iterable[tuple[Indices, Checksums]]) -> str:
    """Fingerprint of a store, from labels and checksums of its splits in order."""
    pieces: list[str | bytes] = [json.dumps([*classes, size])]
    for labels, checksums in parts:
        pieces += [labels.astype("<i8").tobytes(), checksums.astype("<u8").tobytes()]
    return PREFIX + digest(pieces)


def _load(folder: Path, split: str, what: str, count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    try:
        found: npt.NDArray[Any] = np.load(folder / f"{split}.{what}.npy", allow_pickle=False)
        shape, has = found.shape, found.dtype  # an archive of arrays has neither
    except Exception as error:  # NumPy reads the header as Python, and lets through what that raises
        raise DataError(f"{folder} has no {what} of {split}: {error}. Copy or make the store again.") from error
    if shape != (count,) or has != dtype:
        raise DataError(f"{folder} has {what} of another split than {split}. Copy or make the store again.")
    return found


def _has_format(file: Path) -> bool:
    try:
        return _loaded(file).get("format") == FORMAT
    except DataError:
        return False


def _loaded(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {error}. Make the store again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} is damaged: it is no JSON object. Make the store again.")
    return content


def _fingerprint(folder: Path, index: Index, splits: Mapping[str, tuple[StoredImages, Indices]]) -> str:
    """The fingerprint that labels and checksums must have; pixels are compared with these when they are read."""
    if index.version == 1:  # without checksums: its files are looked at as those of any source are
        files = {name: folder / f"{name}.images.bin" for name in splits}
        return fingerprint(
            index.classes, [blocks_of_files(folder, [files[name]], labels) for name, (_, labels) in splits.items()]
        )
    sums = [(labels, images.checksums) for images, labels in splits.values() if images.checksums is not None]
    if fingerprint_of(index.classes, index.size, sums) != index.fingerprint:
        raise DataError(
            f"the labels or checksums in {folder} are not those that the store was made with. Copy or make it again."
        )
    return index.fingerprint
