"""What a study has stored, checked; study.db is read as it is, in a tenth of the time that Optuna takes to load."""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from acmix_nas.errors import RecordError, StudyError
from acmix_nas.fields import COUNT, MAPPING, NUMBER, TEXT, Origin, mapping_of, maybe, whole
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.study.folder import DATABASE, ELSEWHERE

STUDY_ATTRS = {
    "header": MAPPING,
    "goal": maybe(COUNT),
    "throughputs": maybe(mapping_of(NUMBER)),
    "throughput_batches": maybe(mapping_of(COUNT)),
    "finalists": mapping_of(COUNT),
}
"""What a study has in the storage; optuna-dashboard adds its own."""
TRIAL_ATTRS = {"label": TEXT, "job": MAPPING, "arrived": MAPPING, "workers_lost": COUNT}
"""What a trial has in the storage beside its record: `Turn` of the job that it does, and what that came to."""
TURN = {"number": COUNT, "until": maybe(whole(1)), "twin": maybe(COUNT)}
ARRIVED = {"number": COUNT, "record": MAPPING}
MOUNTS = Path("/proc/mounts")
SHARED = re.compile(
    r"nfs\d?|cifs|smbfs|smb\d|9p|lustre|ceph|beegfs|gpfs|afs|glusterfs|pvfs2|orangefs"
    r"|fuse\.(sshfs|ceph|ceph-fuse|glusterfs|rclone|s3fs|gcsfuse|juicefs)"
)
"""Types of network file systems, whose locks SQLite cannot rely on (https://www.sqlite.org/faq.html#q5)."""
ENDED = ("COMPLETE", "PRUNED", "FAIL")
"""Optuna's states of trials that go on no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A job that a study decided on: a new trial, or one that goes on.

    Attributes:
        number: Its place among the jobs of the study, from 0.
        until: Epoch that the trial is trained to; None for all of the budget.
        twin: Number of the trial whose training stands for this one's; None where it is trained.
    """

    number: int
    until: int | None = None
    twin: int | None = None


def read_sqlite(folder: Path) -> tuple[StudyHeader, list[TrialRecord]]:
    """Header and records of the ended trials from study.db in a folder, all of one moment.

    Raises:
        AcmixError, LookupError, TypeError, ValueError, sqlite3.Error: It is not there, or not as Optuna writes it.
    """
    file = folder / DATABASE
    if (folder / ELSEWHERE).is_file() or file.is_symlink() or is_unborn(folder):
        raise StudyError(f"{file} holds no study.")
    check_local(file)
    with closing(_opened(file)) as database:
        database.execute("BEGIN")
        studies = dict(database.execute("SELECT study_name, study_id FROM studies"))
        name = next(iter(studies)) if len(studies) == 1 else folder.name
        attrs = database.execute(
            "SELECT key, value_json FROM study_user_attributes WHERE study_id = ?", [studies[name]]
        )
        kept = {key: json.loads(value) for key, value in attrs}
        header = header_of(folder, name, kept)
        trials: dict[tuple[int, str], dict[str, Any]] = {}
        for number, state, key, value in database.execute(
            "SELECT number, state, key, value_json FROM trials LEFT JOIN trial_user_attributes USING (trial_id) "
            "WHERE study_id = ? ORDER BY number",
            [studies[name]],
        ):
            found = trials.setdefault((number, state), {})
            if key is not None:
                found[key] = json.loads(value)
    records = [(state, record_of(folder, number, attrs)) for (number, state), attrs in trials.items()]
    return header, timed([record for state, record in records if record is not None and state in ENDED], kept)


def timed(records: Sequence[TrialRecord], kept: Mapping[str, Any]) -> list[TrialRecord]:
    """Records of an ablation with the images a second of their rows' full networks, which are timed after the rows.

    Args:
        records: As they are stored.
        kept: What the study has in the storage.
    """
    speeds, name = kept.get("throughputs") or {}, "throughput_img_per_s"

    def with_speed(record: TrialRecord) -> TrialRecord:
        if record.label not in speeds or record.environment.get(name) is not None:
            return record
        batch_size = (kept.get("throughput_batches") or {}).get(record.label)
        speed = {name: speeds[record.label], "throughput_batch_size": batch_size}
        return replace(record, environment={**record.environment, **speed})

    return [with_speed(record) for record in records]


def header_of(folder: Path, name: str, attrs: Mapping[str, Any]) -> StudyHeader:
    """The header of a study.

    Args:
        folder: Its folder.
        name: Its name in the storage.
        attrs: Its attributes there.

    Raises:
        StudyError: One of them is wrong.
        RecordError: The header is.
    """
    known = {key: value for key, value in attrs.items() if key in STUDY_ATTRS}
    Origin(f"the study {name} of {folder}", StudyError).fields(
        known, STUDY_ATTRS, optional=STUDY_ATTRS.keys() - {"header"}
    )
    return StudyHeader.from_dict(known["header"])


def record_of(folder: Path, number: int, attrs: Mapping[str, Any]) -> TrialRecord | None:
    """The record of a trial, if it has one.

    Args:
        folder: The study's folder.
        number: The trial.
        attrs: Its attributes in the storage.

    Raises:
        StudyError: One of them is wrong.
        RecordError: The record is, or is another trial's.
    """
    known = {key: value for key, value in attrs.items() if key in TRIAL_ATTRS}
    origin = Origin(f"trial {number} of {folder}", StudyError)
    origin.fields(known, TRIAL_ATTRS, optional=TRIAL_ATTRS)
    for key, rules in (("job", TURN), ("arrived", ARRIVED)):
        if key in attrs:
            origin.fields(attrs[key], rules, path=key)
    if "record" not in attrs:
        return None
    record = TrialRecord.from_dict(attrs["record"])
    if record.number != number:
        raise RecordError(f"trial {number} holds the record of trial {record.number}.")
    return record


def turn_of(attrs: Mapping[str, Any]) -> Turn | None:
    """The job that a trial does or did last; None for one that another study trained.

    Args:
        attrs: The trial's attributes in the storage.
    """
    return Turn(**attrs["job"]) if "job" in attrs else None


def is_unborn(folder: Path) -> bool:
    """Whether study.db has neither a header nor a trial: acmix 0.1 left such a one when it was killed early."""
    file = folder / DATABASE
    if (folder / ELSEWHERE).is_file() or file.is_symlink() or not file.is_file():
        return False
    questions = ("SELECT 1 FROM study_user_attributes WHERE key = 'header'", "SELECT 1 FROM trials LIMIT 1")
    try:
        with closing(_opened(file)) as database:
            return not any(database.execute(question).fetchone() for question in questions)
    except sqlite3.Error as error:
        return "no such table" in str(error)


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)


def check_local(file: Path) -> None:
    """Refuses a file of SQLite on a network file system.

    Raises:
        StudyError: It is on one.
    """
    kind = file_system(file)
    if kind is not None and SHARED.fullmatch(kind):
        raise StudyError(
            f"{file} is on a network file system ({kind}), where SQLite loses data; name a local folder with "
            "--out, or a database with --storage URL."
        )


def file_system(path: Path) -> str | None:
    """The type of the file system that a path is on; None where the system does not say."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    mounts = {}
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        mounts[re.sub(r"\\(\d{3})", lambda match: chr(int(match.group(1), 8)), place)] = kind
    here = path.resolve()
    return next((mounts[str(place)] for place in (here, *here.parents) if str(place) in mounts), None)
