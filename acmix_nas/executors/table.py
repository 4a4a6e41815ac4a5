"""The executor `table:FILE`: trains nothing; each network gets the training that a table of finished trials has of it.

With a table of every network of a space, samplers, pruning and scores are judged in minutes. A table is a
`trials.jsonl`, of one study or of several one after the other, as it is or gzipped.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from acmix_nas.arch import Arch
from acmix_nas.data import Splits
from acmix_nas.errors import RecordError, UsageError
from acmix_nas.executors import Job, Outcome
from acmix_nas.record import TrialRecord
from acmix_nas.sizes import Size
from acmix_nas.space import Proxy
from acmix_nas.tasks import load_task, pick_metric
from acmix_nas.train import Budget, Progress, Setting

PREFIX = "table:"


@dataclass(frozen=True, slots=True)
class TrainingTable:
    """The trainings of a table.

    Attributes:
        file: Where it is.
        setting: What all of them hold fixed. Of the images only what is known of them is there; they cannot be read.
        runs: `Arch.id` of a proxy network -> its complete trainings, by seed.
        digest: SHA-256 of the trainings.
    """

    file: Path
    setting: Setting
    runs: Mapping[str, tuple[TrialRecord, ...]]
    digest: str

    @classmethod
    def load(cls, file: Path, *, input_size: Size, metric: str | None = None) -> Self:
        """Reads a table.

        Args:
            file: A `trials.jsonl` or `trials.jsonl.gz`.
            input_size: Image extent in pixels at which the costs of full networks are counted.
            metric: The metric that the user named, for scores that are none of the task's own.

        Raises:
            UsageError: The file cannot be read or is no table, none of its trials is complete, or they were scored by
                another metric.
            RecordError: A training is another than the first.
        """
        text = _read(file)
        records = [record for record in _records(file, text) if record.status == "complete"]
        if not records:
            raise UsageError(f"{file} has no complete trial; a table is the trials.jsonl of a study that was trained.")
        first, asked = _facts(records[0]), pick_metric(load_task(records[0].task), metric).name
        if asked != records[0].metric:
            raise UsageError(f"the trials of {file} were scored by {records[0].metric}, not by {asked}; say --metric.")
        runs: dict[str, dict[int, TrialRecord]] = {}
        proxy = Proxy.from_dict(records[0].proxy, str(file))
        for record in records:
            _check_alike(file, first, record)
            runs.setdefault(proxy.shrink(record.arch).id, {}).setdefault(record.seeds["init"], record)
        setting = Setting(
            proxy=proxy,
            budget=Budget.from_dict(records[0].budget, str(file)),
            splits=Splits.known_as(records[0].data),
            split=records[0].split,
            input_size=input_size,
            device="cpu",
            task=records[0].task,
            head=None if records[0].head is None else records[0].head["name"],
            metric=metric,
        )
        ordered = {key: tuple(of[seed] for seed in sorted(of)) for key, of in runs.items()}
        said = "".join(f"{record.to_json()}\n" for record in records)
        return cls(file, setting, ordered, hashlib.sha256(said.encode()).hexdigest())

    def run(self, arch: Arch, seed: int) -> TrialRecord | None:
        """The training of a network in a study of some seed; studies of all seeds share those that there are."""
        of = self.runs.get(self.setting.proxy.shrink(arch).id, ())
        return of[seed % len(of)] if of else None

    def __str__(self) -> str:
        count = sum(map(len, self.runs.values()))
        return f"replayed from {self.file}: {count} trainings of {len(self.runs)} networks; nothing is trained"


@dataclass(slots=True)
class TableExecutor:
    """The executor of a table."""

    table: TrainingTable
    workers: int = 1
    _jobs: list[Job] = field(default_factory=list)

    def submit(self, job: Job) -> None:
        """Takes a job."""
        self._jobs.append(job)

    def wait(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """What the table has of the jobs taken."""
        ended = [self._outcome(job) for job in self._jobs]
        self._jobs.clear()
        return ended

    def _outcome(self, job: Job) -> Outcome:
        run = self.table.run(job.arch, job.seeds["init"])
        if run is None:
            return Outcome(job=job, failed=f"{self.table.file} has no training of this network")
        cost = self.table.setting.cost_of(job.arch)
        record = replace(run, number=job.number, label=job.label, arch=job.arch, cost=cost, shared_with=None)
        if job.until is not None and job.until < len(run.scores):
            record = replace(record.cut(job.until), seconds=round(run.seconds * job.until / len(run.scores), 3))
        return Outcome(job=job, record=record)

    def halt(self) -> None:
        """Nothing runs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to stop."""


def table_file(executor: str | None) -> Path | None:
    """The file of `table:FILE`; None for another executor.

    Raises:
        UsageError: It names no file.
    """
    if executor is None or not executor.startswith(PREFIX):
        return None
    if executor == PREFIX:
        raise UsageError("--executor table: names no file; it is table:FILE, e.g. table:reports/demo/trials.jsonl.")
    return Path(executor.removeprefix(PREFIX))


def _read(file: Path) -> str:
    try:
        data = file.read_bytes()
        return (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(
            f"the table {file} cannot be read: {error}. --executor table:FILE takes a trials.jsonl, plain or gzipped."
        ) from error


def _records(file: Path, text: str) -> list[TrialRecord]:
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            records += [TrialRecord.from_json(line)] if line.strip() else []
        except RecordError as error:
            raise UsageError(
                f"the table {file} is no trials.jsonl: line {number} is no record: {error} Name the trials.jsonl of a "
                "study, as it is or gzipped."
            ) from error
    return records


def _facts(record: TrialRecord) -> dict[str, Any]:
    """What all trainings of a table hold fixed, as JSON gives it back; the seed of draws and images is theirs."""
    data = {name: value for name, value in record.data.items() if name not in ("seed", "skipped")}
    facts = {name: getattr(record, name) for name in ("split", "task", "head", "metric", "budget", "proxy")}
    plain: dict[str, Any] = json.loads(json.dumps({**facts, "data": data}, default=dict))
    return plain


def _check_alike(file: Path, first: Mapping[str, Any], record: TrialRecord) -> None:
    here = _facts(record)
    differing = [name for name in first if first[name] != here[name]]
    if differing:
        raise RecordError(
            f"{file} mixes trainings: trial {record.number}, {record.label}, has another "
            f"{' and another '.join(differing)} than the first. A table holds trainings of one kind."
        )
