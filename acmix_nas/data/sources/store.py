"""A store that `acmix data subset` made: decoded images, mapped from disk."""

from pathlib import Path

from acmix_nas.data.source import Source
from acmix_nas.data.store import is_store, map_split, read_index

LAYOUT = "a store made by `acmix data subset`"


def matches(spec: str) -> bool:
    """Whether a folder is a store, be it half written."""
    return is_store(Path(spec))


def open_source(spec: str) -> Source:
    """Maps the images of a store.

    Raises:
        DataError: It is half written, of another version or damaged.
    """
    folder = Path(spec)
    index = read_index(folder)
    return Source(
        kind="store",
        name=folder.resolve().name,
        classes=index.classes,
        train=map_split(folder, index, "train"),
        search=map_split(folder, index, "search"),
        validation=map_split(folder, index, "report"),
        fingerprint=index.fingerprint,
    )
