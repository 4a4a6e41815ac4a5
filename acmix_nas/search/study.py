"""A study on disk: the Optuna storage in its folder is the truth, everything else is rendered from it."""

import fcntl
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from acmix_nas.errors import StudyError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.search.sampler import Direction

optuna.logging.set_verbosity(optuna.logging.WARNING)

DATABASE = "study.db"
DIRECTIONS: dict[str, Direction] = {
    "top1": "maximize",
    "macs": "minimize",
    "macs_deploy": "minimize",
    "params": "minimize",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Study:
    """One study folder.

    Args:
        folder: The folder, with study.db in it.
        study: The Optuna study.
    """

    def __init__(self, folder: Path, study: optuna.Study) -> None:
        self.folder = folder
        self.optuna = study
        self.header = StudyHeader.from_dict(study.user_attrs["header"])
        self._records: dict[int, TrialRecord] = {}

    @classmethod
    def create(cls, out: Path, header: StudyHeader) -> "Study":
        """Makes the folder `out`/NAME and its storage.

        Raises:
            StudyError: The name is taken or cannot name a folder.
        """
        folder = study_folder(out, header.name)
        if (folder / DATABASE).exists():
            raise StudyError(
                f"the study {header.name!r} exists in {out}; add --resume to go on with it, or choose another --study."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"the folder {folder} cannot be made: {error}; choose another --out.") from error
        study = optuna.create_study(
            storage=_storage(folder),
            study_name=header.name,
            directions=[DIRECTIONS[name] for name in header.objectives],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # names for optuna-dashboard only
            study.set_metric_names(list(header.objectives))
        study.set_user_attr("header", header.to_dict())
        return cls(folder, study)

    @classmethod
    def open(cls, folder: Path) -> "Study":
        """The study in a folder.

        Raises:
            StudyError: There is none, or its storage cannot be read.
        """
        if not (folder / DATABASE).is_file():
            raise StudyError(f"there is no study in {folder}: it has no {DATABASE}.{_others(folder)}")
        try:
            storage = _storage(folder)
            (name,) = optuna.get_all_study_names(storage)
            return cls(folder, optuna.load_study(study_name=name, storage=storage))
        except Exception as error:
            raise StudyError(f"{folder / DATABASE} cannot be read as a study of acmix: {error}") from error

    def start(self, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], label: str) -> int:
        """Adds a running trial with all its parameters in one call; returns its number."""
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs={"label": label},
        )
        self.optuna.add_trial(trial)
        return len(self.optuna.get_trials(deepcopy=False)) - 1

    def finish(self, record: TrialRecord) -> None:
        """Stores a record, ends its trial and adds its line to trials.jsonl."""
        frozen = self.optuna.get_trials(deepcopy=False)[record.number]
        Trial(self.optuna, frozen._trial_id).set_user_attr("record", record.to_dict())
        if record.top1 is None:
            self.optuna.tell(record.number, state=TrialState.FAIL)
        else:
            self.optuna.tell(record.number, self._values(record))
        with (self.folder / "trials.jsonl").open("a", encoding="utf-8") as file:
            file.write(record.to_json() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        return list(self.optuna.get_trials(deepcopy=False))

    def running(self) -> list[FrozenTrial]:
        """Trials that began and did not end: an interrupt left them."""
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def records(self) -> list[TrialRecord]:
        """The records of all trials that ended, by number."""
        for trial in self.trials():
            if trial.state.is_finished() and trial.number not in self._records and "record" in trial.user_attrs:
                self._records[trial.number] = TrialRecord.from_dict(trial.user_attrs["record"])
        return [self._records[number] for number in sorted(self._records)]

    def render_lines(self) -> None:
        """Writes trials.jsonl anew from the storage: a kill may have come between the two."""
        lines = [record.to_json() + "\n" for record in self.records()]
        (self.folder / "trials.jsonl").write_text("".join(lines), encoding="utf-8")

    def _values(self, record: TrialRecord) -> list[float]:
        values = {
            "top1": record.top1,
            "params": record.cost.params,
            "macs": record.cost.macs,
            "macs_deploy": record.cost.macs_deploy,
        }
        return [float(values[name] or 0.0) for name in self.header.objectives]


def load(folder: Path) -> tuple[StudyHeader, list[TrialRecord]]:
    """Header and records of a study folder.

    Raises:
        StudyError: There is no study in it.
    """
    study = Study.open(folder)
    return study.header, study.records()


def study_folder(out: Path, name: str) -> Path:
    """`out`/NAME, for a name that is a plain file name."""
    if not _NAME.fullmatch(name):
        raise StudyError(
            f"a study's name has letters, digits, '.', '_' and '-', and starts with a letter or digit; it is {name!r}."
        )
    return out / name


def next_name(out: Path, space: str) -> str:
    """The first unused name of {space}-001, {space}-002, ..."""
    return f"{space}-{_last(out, space) + 1:03d}"


def newest_name(out: Path, space: str) -> str:
    """The last used name of {space}-001, {space}-002, ..."""
    if not _last(out, space):
        raise StudyError(f"there is no study {space}-NNN in {out} to resume; name one with --study.")
    return f"{space}-{_last(out, space):03d}"


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Holds the study for this process and sends the log to log.txt in it.

    Raises:
        StudyError: Another process holds it.
    """
    stream = (folder / "log.txt").open("a", encoding="utf-8")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("acmix_nas")
    level, propagates = logger.level, logger.propagate
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        raise StudyError(f"another process is at work on {folder}; wait for it or stop it.") from error
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
        stream.close()


def check_same(header: StudyHeader, settings: Mapping[str, Any]) -> None:
    """Refuses to continue a study whose settings are no longer the same.

    Raises:
        StudyError: The message names what differs.
    """
    for name, now in settings.items():
        then, now = _flat(name, header.settings.get(name)), _flat(name, now)
        for path in sorted({*then, *now}):
            if then.get(path) != now.get(path):
                raise StudyError(
                    f"the study {header.name!r} was made with {path} = {then.get(path)}, now it is {now.get(path)}; "
                    "results of the two cannot stand in one study. Leave the option out, or start a new --study."
                )


def _flat(path: str, value: Any) -> dict[str, str]:
    """JSON leaves by their path, so that a difference is named where it is."""
    if isinstance(value, Mapping):
        return {inner: leaf for name, item in value.items() for inner, leaf in _flat(f"{path}.{name}", item).items()}
    return {path: json.dumps(value)}


def _storage(folder: Path) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{(folder / DATABASE).resolve()}")


def _last(out: Path, space: str) -> int:
    found = (
        [re.fullmatch(rf"{re.escape(space)}-(\d+)", path.name) for path in out.glob(f"{space}-*")]
        if out.is_dir()
        else []
    )
    return max((int(match.group(1)) for match in found if match), default=0)


def _others(folder: Path) -> str:
    have = sorted(path.parent.name for path in folder.parent.glob(f"*/{DATABASE}"))
    return f" There are {', '.join(have)}." if have else ""
