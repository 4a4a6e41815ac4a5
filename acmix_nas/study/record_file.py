"""Records as lines of a file, each added when its training ends."""

from collections.abc import Iterator
from pathlib import Path

from acmix_nas.files import append_line, write_text
from acmix_nas.record import TrialRecord


def read_records(file: Path) -> Iterator[TrialRecord]:
    """The stored records; a last line that a kill tore is cut off."""
    if not file.is_file():
        return
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(file, whole)
    yield from map(TrialRecord.from_json, whole.splitlines())


def append_record(file: Path, record: TrialRecord) -> None:
    """Adds a record and waits until the disk has it.

    Raises:
        DiskError: It cannot be written.
    """
    append_line(file, record.to_json())
