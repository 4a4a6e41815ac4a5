"""A store that `acmix data subset` made: decoded images on disk."""

from collections.abc import Mapping
from pathlib import Path

from acmix_nas.data.draw import Indices
from acmix_nas.data.fingerprint import WHOLE, blocks_of_files, fingerprint
from acmix_nas.data.pixels import Pixels
from acmix_nas.data.source import Source
from acmix_nas.data.store import SPLITS, Index, fingerprint_of, is_store, open_split, read_index
from acmix_nas.data.stored import StoredImages
from acmix_nas.errors import DataError

LAYOUT = "a store made by `acmix data subset`"


def matches(spec: str) -> bool:
    """Whether a folder is a store, complete or not."""
    return is_store(Path(spec))


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
