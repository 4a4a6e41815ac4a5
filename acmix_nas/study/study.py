"""A study on disk: the Optuna storage is the truth, everything else is rendered from it."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from acmix_nas.errors import DiskError, StudyError
from acmix_nas.files import append_line, write_text
from acmix_nas.front import values_of
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.study.database import Database
from acmix_nas.study.folder import CHECKPOINTS, DATABASE, at_work, has_study, studies, study_folder, sweep_checkpoints
from acmix_nas.study.storage import find_storage, make_storage, parse_url, reason, storing, study_name
from acmix_nas.study.stored import Turn, header_of, is_unborn, record_of, timed, turn_of

log = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Study:
    """One study folder.

    Args:
        folder: The folder.
        storage: Its storage.
        name: The study's name there.
    """

    def __init__(self, folder: Path, storage: optuna.storages.RDBStorage, name: str) -> None:
        self.folder = folder
        self.optuna = optuna.load_study(study_name=name, storage=storage)
        self.header = header_of(folder, name, self.optuna.user_attrs)
        self._storage = storage
        self._id = storage.get_study_id_from_name(name)
        self._trials: list[FrozenTrial] = []
        self._records: dict[int, TrialRecord] = {}
        self._held = False
        self._read()

    @classmethod
    def create(
        cls,
        out: Path,
        header: StudyHeader,
        *,
        storage: str | None = None,
        fill: Callable[[Path], None] | None = None,
    ) -> "Study":
        """Makes the folder `out`/NAME and its storage. A kill before all is done leaves no study there.

        Args:
            out: Folder of study folders.
            header: What holds for all trials.
            storage: URL of a database; None for SQLite in the folder.
            fill: Puts into the folder what else the study needs.

        Raises:
            StudyError: The name is taken or cannot name a folder, or the storage cannot be used.
        """
        folder = study_folder(out, header.name)
        check_free(out, header.name)
        if storage is not None:
            parse_url(storage)
        is_new = not folder.is_dir()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = "it is a file" if folder.exists() else error
            raise StudyError(f"the folder {folder} cannot be made: {why}; choose another --out.") from error
        with at_work(folder):
            check_free(out, header.name)
            try:
                (folder / DATABASE).unlink(missing_ok=True)
                if fill is not None:
                    fill(folder)
                rdb = make_storage(folder, storage, header)
            except BaseException:
                if is_new:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
        return cls(folder, rdb, header.name)

    @classmethod
    def open(cls, folder: Path, *, storage: str | None = None) -> "Study":
        """The study in a folder.

        Args:
            folder: Its folder.
            storage: URL of its database, if that is not study.db in the folder; by default the environment's
                ACMIX_STORAGE. A folder alone has no other database opened.

        Raises:
            StudyError: There is none, or its storage cannot be read.
        """
        if not has_study(folder):
            others = ", ".join(other.name for other in studies(folder.parent))
            have = f" There are {others}." if others else ""
            raise StudyError(f"there is no study in {folder}: it has no {DATABASE}.{have}")
        if is_unborn(folder):
            raise StudyError(f"the study in {folder} was killed before it started; start it again without --resume.")
        try:
            rdb = find_storage(folder, storage)
            names, name = optuna.get_all_study_names(rdb), study_name(folder)
            if len(names) > 1 and name not in names:
                raise StudyError(
                    f"the storage of the study in {folder} has {', '.join(names)}, and none named {name!r}; "
                    "rename the folder to the name of its study."
                )
            return cls(folder, rdb, names[0] if len(names) == 1 else name)
        except StudyError:
            raise
        except Exception as error:
            raise StudyError(f"{folder / DATABASE} cannot be read as a study of acmix: {reason(error)}") from error

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Holds the study for this process, in its folder and in its database; the log goes to log.txt.

        Raises:
            StudyError: Another process holds it.
        """
        alone = self._storage.alone(self._id) if isinstance(self._storage, Database) else nullcontext()
        with at_work(self.folder), alone:
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this process alone writes: nothing is read again, which with many paused trials takes seconds."""
        self._read()
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def start(
        self,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        label: str,
        turn: Turn | None = None,
    ) -> int:
        """Adds a running trial with all its parameters in one call; returns its number.

        Args:
            params: Optuna's parameters.
            distributions: Their distributions.
            label: Where it came from.
            turn: What it does at first; None where the order of trials is nobody's decision.
        """
        job = {} if turn is None else {"job": asdict(turn)}
        return self._add(TrialState.RUNNING, params, distributions, {"label": label, **job})

    def bring(
        self, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], found: TrialRecord
    ) -> int:
        """Adds a trial that another study trained; returns its number here."""
        record = replace(found, number=len(self.trials()))
        attrs = {"label": record.label, "record": record.to_dict()}
        values = values_of(self.header.measures, record.score, record.cost)
        number = self._add(TrialState.COMPLETE, params, distributions, attrs, values)
        self._keep(record)
        return number

    def carry_on(self, number: int, turn: Turn) -> None:
        """Lets a paused trial go on, to an epoch or through all of the budget."""
        self._set(number, "job", asdict(turn))

    def arrive(self, record: TrialRecord, turn: int) -> None:
        """Stores what a job came to, for the time when its turn has come to count."""
        self._set(record.number, "arrived", {"number": turn, "record": record.to_dict()})

    def arrived(self, trial: FrozenTrial) -> TrialRecord | None:
        """What the job that a running trial does, or did before it paused, came to, if that was kept by `arrive`."""
        found, turn = trial.user_attrs.get("arrived"), turn_of(trial.user_attrs)
        if found is None or turn is None or found["number"] != turn.number:
            return None
        return TrialRecord.from_dict(found["record"])

    def pause(self, record: TrialRecord) -> None:
        """Stores what a running trial reached; it may go on later."""
        self._set(record.number, "record", record.to_dict())
        self._records[record.number] = record

    def lose_worker(self, number: int) -> int:
        """Counts that a worker died at a running trial; returns how many have."""
        lost = int(self.trials()[number].user_attrs.get("workers_lost", 0)) + 1
        self._set(number, "workers_lost", lost)
        return lost

    def finish(self, record: TrialRecord) -> None:
        """Stores a record, ends its trial, adds its line to trials.jsonl and deletes its checkpoint."""
        trial = self.trials()[record.number]
        self._set(record.number, "record", record.to_dict())
        done = record.status == "complete"
        values = values_of(self.header.measures, record.score, record.cost) if done else None
        with storing(self.header.name):
            self._storage.set_trial_state_values(trial._trial_id, STATES[record.status], values)
        trial.state = STATES[record.status]
        trial.values = values
        self._keep(record)
        self.checkpoint(record.number).unlink(missing_ok=True)

    def keep(self, name: str, value: Any) -> None:
        """Stores a value of the study itself."""
        with storing(self.header.name):
            self.optuna.set_user_attr(name, value)

    def kept(self, name: str, default: Any = None) -> Any:
        """A value of the study itself."""
        with storing(self.header.name):
            return self.optuna.user_attrs.get(name, default)

    @property
    def asked(self) -> Mapping[str, Any]:
        """What was asked for, by the names of options."""
        return dict(self.header.settings.get("asked", {}))

    @property
    def brought(self) -> int:
        """Trials that other studies gave."""
        return sum(record.origin is not None for record in self.records())

    def ask(self, **asked: Any) -> None:
        """Keeps what is asked for from now on, beside what was asked before, in the header."""
        settings = dict(self.header.settings)
        settings["asked"] = {**settings.get("asked", {}), **asked}
        if settings != self.header.settings:
            self.header = replace(self.header, settings=settings)
            self.keep("header", self.header.to_dict())

    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        self._read()
        return list(self._trials)

    def running(self) -> list[FrozenTrial]:
        """Trials that began and did not end: an interrupt left them, or they are paused."""
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def record(self, number: int) -> TrialRecord | None:
        """What a trial reached, if it ended or is paused."""
        return self._records.get(number)

    def reached(self) -> dict[int, TrialRecord]:
        """The records of all trials that ended or are paused, by number."""
        self._read()
        return self._records

    def records(self) -> list[TrialRecord]:
        """The records of all trials that ended, by number."""
        ended = (trial.number for trial in self.trials() if trial.state.is_finished())
        found = [self._records[number] for number in ended if number in self._records]
        if self.header.kind != "ablate":
            return found
        with storing(self.header.name):
            return timed(found, self.optuna.user_attrs)

    def checkpoint(self, number: int) -> Path:
        """The file that a trial in training can go on from."""
        return self.folder / CHECKPOINTS / f"{number}.ckpt"

    def sweep_checkpoints(self) -> None:
        """Deletes what a kill left in the folder of checkpoints: half-written files, and those of trials that ended.

        Those of finalists stay. No worker may be at work.
        """
        sweep_checkpoints(self.folder, {self.checkpoint(trial.number) for trial in self.running()})

    def render_lines(self) -> None:
        """Writes trials.jsonl anew from the storage: a kill may have come between the two."""
        lines = [record.to_json() + "\n" for record in self.records()]
        write_text(self.folder / "trials.jsonl", "".join(lines))

    def _add(
        self,
        state: TrialState,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        attrs: dict[str, Any],
        values: list[float] | None = None,
    ) -> int:
        self._read()
        trial = create_trial(
            state=state, values=values, params=dict(params), distributions=dict(distributions), user_attrs=attrs
        )
        with storing(self.header.name):
            trial._trial_id = self._storage.create_new_trial(self._id, template_trial=trial)
        trial.number = len(self._trials)
        self._trials.append(trial)
        return trial.number

    def _set(self, number: int, name: str, value: Any) -> None:
        trial = self._trials[number]
        with storing(self.header.name):
            self._storage.set_trial_user_attr(trial._trial_id, name, value)
        trial.user_attrs[name] = value

    def _read(self) -> None:
        if self._held:
            return
        with storing(self.header.name):
            self._trials = self.optuna.get_trials(deepcopy=False)
        for trial in self._trials:
            if trial.number in self._records and self._records[trial.number].status in STATES:
                continue
            if (record := record_of(self.folder, trial.number, trial.user_attrs)) is not None:
                self._records[trial.number] = record

    def _keep(self, record: TrialRecord) -> None:
        self._records[record.number] = record
        try:
            append_line(self.folder / "trials.jsonl", record.to_json())
        except DiskError as error:
            log.warning("trial %d is stored, but not yet in trials.jsonl: %s", record.number, error)


def check_free(out: Path, name: str) -> None:
    """Refuses a name that a study has.

    Raises:
        StudyError: It is taken, or cannot name a folder.
    """
    folder = study_folder(out, name)
    if has_study(folder) and not is_unborn(folder):
        raise StudyError(f"the study {name!r} exists in {out}; add --resume to continue it, or choose another --study.")
