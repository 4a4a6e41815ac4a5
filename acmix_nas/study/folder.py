"""The folder of a study: its name, and that one process at a time works in it."""

import logging
import logging.handlers
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from acmix_nas.errors import StudyError
from acmix_nas.files import sweep_temporaries
from acmix_nas.log_format import PrintableFormatter
from acmix_nas.study.lock import LOG, holding, is_held

DATABASE = "study.db"
ELSEWHERE = "storage.json"
"""In a study whose storage is not study.db: where it is."""
STOP = "stop"
"""A file of this name in a study's folder asks the process at work to stop."""
CHECKPOINTS = "checkpoints"
FINAL = "final-"
"""How the checkpoints of finalists begin."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def study_folder(out: Path, name: str) -> Path:
    """`out`/NAME, for a name that is a plain file name."""
    if not _NAME.fullmatch(name):
        raise StudyError(
            f"a study's name has letters, digits, '.', '_' and '-', and starts with a letter or digit; it is {name!r}."
        )
    return out / name


def has_study(folder: Path) -> bool:
    """Whether a study is in a folder."""
    return (folder / DATABASE).is_file() or (folder / ELSEWHERE).is_file()


def find_folder(study: str, out: Path, option: str = "--out") -> Path:
    """The folder of a study: its name in `out`, or a path.

    Args:
        study: The name or path.
        out: Folder of study folders.
        option: The option that names `out`, for the message.

    Raises:
        StudyError: There is no such folder; the message lists those there are.
    """
    places = [folder for folder in (out / study, Path(study)) if study and folder.is_dir()]
    if places:
        return next((folder for folder in places if has_study(folder)), places[0])
    have = sorted(folder.name for folder in out.glob("*") if folder.is_dir())
    known = f"there are {', '.join(have)}" if have else "there is none yet: run acmix search or acmix ablate"
    raise StudyError(f"there is no study {study!r} in {out}; {known}. Another folder is named with {option}.")


def studies(out: Path) -> list[Path]:
    """The folders in `out` that have a study, by name."""
    return sorted(folder for folder in out.glob("*") if has_study(folder))


def next_name(out: Path, space: str) -> str:
    """The first unused name of {space}-001, {space}-002, ...; one whose folder was never begun is unused."""
    base, last = _last(out, space)
    return f"{base}-{last + 1:03d}"


def newest_name(out: Path, space: str) -> str:
    """The last used name of {space}-001, {space}-002, ..."""
    base, last = _last(out, space)
    if not last:
        raise StudyError(f"there is no study {base}-NNN in {out} to resume; name one with --study.")
    return f"{base}-{last:03d}"


def _last(out: Path, space: str) -> tuple[str, int]:
    """The part of a space's or table's name that the name of a study may have, and the largest number in use with it.

    A kill may have come before a study or a training left more in its folder than a log: it was not begun.
    """
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", space).lstrip("._-")[:80] or "study"
    begun = {path.parent.name for path in out.glob(f"{base}-*/*") if path.name != LOG and not path.name.startswith(".")}
    found = [re.fullmatch(rf"{re.escape(base)}-(\d+)", name) for name in begun]
    return base, max((int(match.group(1)) for match in found if match), default=0)


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Holds the study for this process and sends the log to log.txt in it.

    What killed processes left half-written there is removed, and so is a request to stop that was meant for them.

    Raises:
        StudyError: Another process holds it, or a link leads out of the folder.
    """
    _check_links(folder)
    with holding(folder), _logging(folder / LOG):
        sweep_temporaries(folder)
        sweep_temporaries(folder / CHECKPOINTS)
        (folder / STOP).unlink(missing_ok=True)
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / STOP).unlink(missing_ok=True)


@contextmanager
def _logging(file: Path) -> Iterator[None]:
    handler = _Log(file, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("acmix_nas")
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
        with suppress(OSError):  # a full disk
            handler.close()


def _check_links(folder: Path) -> None:
    """Refuses to work in a folder whose names lead out of it: what is written there would land elsewhere.

    study.db may be a link that the user names with --storage (`acmix_nas.study.storage`).
    """
    here = folder.resolve()
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise StudyError(f"{folder} cannot be read: {error.strerror}; a study needs a folder of its own.") from error
    for entry in entries:
        if entry.is_symlink() and entry.name != DATABASE and not entry.resolve().is_relative_to(here):
            raise StudyError(
                f"{entry} is a link to {entry.resolve()}, and a study writes only in its own folder; put the file "
                "or folder itself there, or move the whole folder with --out."
            )


class _Log(logging.handlers.WatchedFileHandler):
    """Writes the log, into a new file once logrotate took the old one; a full disk costs lines of it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line."""
        try:
            super().emit(record)
        except OSError:  # the new file cannot be opened
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def is_at_work(folder: Path) -> bool:
    """Whether a process holds the study."""
    return is_held(folder)


def sweep_checkpoints(folder: Path, wanted: Collection[Path]) -> None:
    """Deletes what a kill left among the checkpoints in a study's folder; finalists' stay. No worker may be at work."""
    for path in (folder / CHECKPOINTS).glob("*"):
        if path not in wanted and not path.name.startswith(FINAL):
            path.unlink(missing_ok=True)
    remove_empty_checkpoints(folder)


def remove_empty_checkpoints(folder: Path) -> None:
    """Removes the folder of checkpoints in a study's folder, if nothing is in it. No worker may be at work."""
    checkpoints = folder / CHECKPOINTS
    if checkpoints.is_dir() and not any(checkpoints.iterdir()):
        checkpoints.rmdir()
