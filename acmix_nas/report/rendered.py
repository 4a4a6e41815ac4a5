"""What a study folder's files were rendered from, so that a report of nothing new is not computed again."""

import json
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import acmix_nas
from acmix_nas.errors import DiskError
from acmix_nas.files import replacing

NAME = ".rendered.json"


def digest_of(*facts: object) -> str:
    """A digest of all that the files depend on: these facts, this package's source, and the library that draws."""
    source = sorted(
        (str(path), state.st_size, state.st_mtime_ns)
        for path in Path(acmix_nas.__file__).parent.rglob("*.*")
        if path.suffix != ".pyc" and (state := path.stat())
    )
    return sha256(repr((facts, _version("matplotlib"), source)).encode("utf-8", "backslashreplace")).hexdigest()


def stored(folder: Path, digest: str) -> list[Path] | None:
    """The files in a folder, where they were rendered from the same and lie there as they were written."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        facts = json.loads((folder / NAME).read_text("utf-8"))
        if facts["of"] == digest and all(
            sha256((folder / name).read_bytes()).hexdigest() == mark for name, mark in facts["files"].items()
        ):
            return [folder / name for name in facts["files"]]
    return None


def remember(folder: Path, digest: str, files: Mapping[str, bytes]) -> None:
    """Notes what the files in a folder were rendered from; without room for the note, the next report computes."""
    marks = {name: sha256(content).hexdigest() for name, content in files.items()}
    with suppress(DiskError), replacing(folder / NAME) as temporary:
        temporary.write_text(json.dumps({"of": digest, "files": marks}), "utf-8")


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
