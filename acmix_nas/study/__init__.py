"""A study on disk: its folder, its Optuna storage, its header and records; the one truth."""

from contextlib import suppress
from pathlib import Path

from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.study.stored import read_sqlite

__all__ = ["load"]


def load(folder: Path, *, storage: str | None = None) -> tuple[StudyHeader, list[TrialRecord]]:
    """Header and records of a study folder.

    Args:
        folder: The folder.
        storage: As in `acmix_nas.study.study.Study.open`.

    Raises:
        StudyError: There is no study in it, or it is in a database that was not named.
    """
    with suppress(Exception):  # whatever is wrong with it, Optuna takes longer to load and says it
        return read_sqlite(folder)
    from acmix_nas.study.study import Study

    study = Study.open(folder, storage=storage)
    return study.header, study.records()
