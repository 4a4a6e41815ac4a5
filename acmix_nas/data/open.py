"""`open_source`: from what a user writes after --data to a `Source`; each file in `sources/` reads one kind."""

from os import PathLike, fspath
from pathlib import Path
from types import ModuleType

from acmix_nas import registry
from acmix_nas.data.looks import looks_like
from acmix_nas.data.source import Source
from acmix_nas.errors import DataError

KINDS = "data.sources"
PREFIXES = ("hfds/", "torch/", "wds/")
"""What a source that is named, and not only found, begins with."""


def open_source(spec: str | PathLike[str] | None) -> Source:
    """Lists a source.

    Args:
        spec: A folder, a file, or a name with a prefix, as the files in `sources/` take them; None for the embedded
            images.

    Raises:
        DataError: There is nothing, nothing that any kind of source reads, or what there is is not as it should be.
    """
    text = "embedded" if spec is None else fspath(spec)
    kinds = [registry.load(KINDS, name) for name in registry.names(KINDS)]
    for kind in kinds:
        if kind.matches(text):
            source: Source = kind.open_source(text)
            return source
    raise DataError(_nothing(text, kinds))


def absolute(spec: str | PathLike[str]) -> str:
    """The same source, named so that it is found from any folder."""
    prefix, slash, rest = fspath(spec).partition("/")
    if prefix + slash in PREFIXES:
        return f"{prefix}/{Path(rest).resolve()}" if rest and Path(rest).exists() else fspath(spec)
    return str(Path(spec).resolve()) if Path(spec).exists() else fspath(spec)


def _nothing(spec: str, kinds: list[ModuleType]) -> str:
    rule = "a source of images is one of\n" + "".join(f"  - {kind.LAYOUT}\n" for kind in kinds)
    path = Path(spec)
    if not path.exists():
        return f"there is no folder or file {spec}. Check the path; {rule}".rstrip()
    if path.is_file():
        return f"{rule}The file {spec} is none of them. {looks_like(path)}".rstrip()
    found = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    shown = f"{', '.join(found[:8])}{', ...' if len(found) > 8 else ''}" if found else "nothing"
    look = looks_like(path) or "Move or link the images into one of these layouts."
    return f"{rule}{spec} has {shown}. {look}"
