"""Where the package's own files lie, and how files are written so that a kill never leaves half of one."""

import errno
import os
import platform
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from acmix_nas.errors import AcmixError, DiskError, SpaceError

PACKAGE = Path(__file__).parent
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a disk without room, or of a quota that is used up."""
_OLD_S = 86_400.0
"""A temporary file of another machine is a leftover after so long: whether its process lives is not seen from here."""
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.((?P<host>[0-9a-f]{8})-)?(?P<pid>\d+)\.tmp")


def search_spaces() -> Path:
    """The folder of search spaces: inside an installed package, beside it in a checkout."""
    for folder in (PACKAGE / "search_spaces", PACKAGE.parent / "search_spaces"):
        if folder.is_dir():
            return folder
    raise AcmixError(f"the folder search_spaces is neither in {PACKAGE} nor beside it; reinstall acmix-nas.")


def space_names(folder: str = "") -> list[str]:
    """Names of the YAML files in search_spaces, or in a folder of it."""
    return sorted(file.stem for file in (search_spaces() / folder).glob("*.yaml"))


def is_path(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether a file is named by its path, not by a name of search_spaces."""
    path = Path(name_or_path)
    return path.suffix in (".yaml", ".yml") or len(path.parts) > 1


def find_space(name_or_path: str | os.PathLike[str], folder: str = "") -> Path:
    """The YAML file behind a name of search_spaces, or behind a path.

    Raises:
        SpaceError: There is neither such a name nor such a file.
    """
    path = Path(name_or_path)
    named = search_spaces() / folder / f"{name_or_path}.yaml"
    if is_path(path):
        if path.is_file():
            return path
        raise SpaceError(f"there is no file {path}.")
    if named.is_file():
        return named
    kind, have = folder.rstrip("s") or "space", ", ".join(space_names(folder))
    raise SpaceError(
        f"there is no {kind} {str(name_or_path)!r}; there are {have}. Give your own file by its path, ending in .yaml."
    )


def write_text(path: Path, text: str) -> None:
    """Writes a text file in one step: readers see the old one or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    Raises:
        DiskError: It cannot be written: the disk is full, the folder is read-only.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # in a folder that is no folder
            temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A hidden path beside `path`, for this process to write; what killed processes left for `path` is removed."""
    sweep_temporaries(path.parent, of=path.name)
    temporary = path.with_name(f".{path.name}.{_host()}-{os.getpid()}.tmp")
    with suppress(OSError):
        _remove(temporary)  # of a killed process with the number of this one, as containers give it again
    return temporary


def sweep_temporaries(folder: Path, *, of: str | None = None) -> None:
    """Removes the temporary files and folders of processes that were killed while they wrote.

    Args:
        folder: Where they lie.
        of: The name of the file that they were to become; None for any.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            found = _TEMPORARY.fullmatch(path.name)
            if found and of in (None, found["name"]) and _is_left_over(path, found["host"], int(found["pid"])):
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_left_over(path: Path, host: str | None, pid: int) -> bool:
    if host != _host():  # its process cannot be looked for, and clocks jump: the folder says what time it is
        newest = max(other.lstat().st_mtime for other in path.parent.iterdir())
        return newest - path.stat().st_mtime > _OLD_S
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _host() -> str:
    """This machine, in eight letters of a file's name."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def append_line(path: Path, line: str) -> None:
    """Adds a line to a text file and waits until the disk has it; what a full disk took of it is cut off again.

    Raises:
        DiskError: It cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                left = memoryview(f"{line}\n".encode())
                while left:
                    left = left[file.write(left) or 0 :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise unwritable(path, error) from error


def whole_lines(path: Path) -> list[str]:
    """The lines of a text file that may not be there; a last one that a kill tore is cut off.

    Raises:
        DiskError: It cannot be cut off.
    """
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(path, whole)
    return whole.splitlines()


def unwritable(path: Path, error: OSError) -> DiskError:
    """The error of a file that cannot be written."""
    return no_room(path) if error.errno in FULL else DiskError(f"{path} cannot be written: {error.strerror or error}.")


def no_room(path: Path) -> DiskError:
    """The error of a full disk."""
    return DiskError(
        f"the disk of {path.parent} is full: {path.name} cannot be written. Everything stored before is kept; "
        "free some space and continue."
    )
