"""The study of an ablation table: every row is trained with the same seeds, each cell once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from optuna.distributions import BaseDistribution, IntDistribution

from acmix_nas import __version__
from acmix_nas.arch import Arch
from acmix_nas.cost.network import DenseHead
from acmix_nas.cost.profile import throughputs
from acmix_nas.errors import AcmixError, SpaceError, StudyError
from acmix_nas.executors import Executor, Job, Outcome
from acmix_nas.executors.callbacks import Callbacks, ExperimentCallbacks
from acmix_nas.executors.serial import SerialExecutor
from acmix_nas.experiments.ablation.table import Ablation, AblationOptions
from acmix_nas.experiments.busy import warn_when_busy
from acmix_nas.experiments.running import StudyResult, run_study
from acmix_nas.experiments.setup import (
    check_resumed,
    device_of,
    examples_of,
    find_study,
    load_work,
    metric_of,
    pick_proxy,
    settings_of,
    workers_of,
)
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import View
from acmix_nas.search.run import record_of, train_jobs
from acmix_nas.sizes import size_text
from acmix_nas.study import load
from acmix_nas.study.folder import find_folder, next_name
from acmix_nas.study.settings import differences
from acmix_nas.study.stop import Stop
from acmix_nas.study.study import Study
from acmix_nas.tasks import pick_metric
from acmix_nas.train import Setting
from acmix_nas.train.trial import build_proxy, shared_record

log = logging.getLogger(__name__)

MOST_SEEDS = 1000
MOST_ROWS = 10_000
THROUGHPUT_BATCH = {"cpu": 4, "cuda": 64}
"""Images in a batch when the full networks are timed, by device."""
TIMED_TOGETHER = 12
"""Full networks that are in memory at once while they are timed."""
VERSIONS = ("acmix_nas", "torch", "timm", "cuda", "device_name")
"""What of the environment a score depends on."""
DISTRIBUTIONS: Mapping[str, BaseDistribution] = {
    "row": IntDistribution(0, MOST_ROWS - 1),
    "seed": IntDistribution(0, MOST_SEEDS - 1),
}
"""A row is its place among the study's rows: their number may grow, options of a name could not."""


def run_table(ablation: Ablation, options: AblationOptions, callbacks: ExperimentCallbacks | None) -> StudyResult:
    """Makes or resumes the study of a table, trains its cells and renders it; `ablation.run` with the table loaded."""
    callbacks = callbacks or ExperimentCallbacks()
    for note in ablation.notes:
        callbacks.note(note)
    device, space = device_of(options, options.device), ablation.space
    study, options = find_study(options, ablation.name)
    options = options.of_space(space.task, space.head)
    before = study.asked if study else {}
    seeds = options.seeds or before.get("seeds") or ablation.seeds
    hours = options.hours or before.get("hours")
    proxy, cells = pick_proxy(space, options, device), seeds * len(ablation.rows)
    workers = workers_of(options, device, proxy, space, trainings=cells)
    work, setting = load_work(options, space, study, split="report", device=device, progress=callbacks.decode)
    if study is not None:
        check_resumed(study.header, setting)
    check_rows(ablation, setting)
    reused = [
        cell for name in options.reuse for cell in reusable(*load(find_folder(name, options.out)), setting=setting)
    ]
    study = study or _create(ablation, options, setting)
    stop = Stop(study.folder, hours=hours)
    with study.at_work():
        return run_study(
            study,
            setting,
            callbacks,
            asked={"seeds": seeds, "hours": hours, **({"data": options.data} if options.data else {})},
            total=cells,
            view=View(columns=options.columns, compare=options.compare),
            run=lambda callbacks: ablate(
                study,
                ablation,
                setting,
                seeds=seeds,
                callbacks=callbacks,
                executor=workers.make(work),
                reused=reused,
                stop=stop,
                throughput=options.throughput,
            ),
            stop=stop,
            notes=[workers.text],
        )


def _create(ablation: Ablation, options: AblationOptions, setting: Setting) -> Study:
    """A new study."""
    settings = {
        **settings_of(setting),
        **examples_of(setting),
        "rows": {name: arch.to_dict() for name, arch in ablation.rows.items()},
        "base": ablation.base.to_dict(),
        "notes": list(ablation.notes),
        "asked": {**options.remembered(), "seeds": options.seeds or ablation.seeds},
    }
    header = StudyHeader(
        name=options.study or next_name(options.out, ablation.name),
        kind="ablate",
        space=ablation.name,
        host=ablation.space.host,
        split=setting.split,
        metric=metric_of(options),
        seed=options.seed or 0,
        command=options.command,
        version=__version__,
        settings=settings,
        baseline=ablation.baseline,
        rows=tuple(ablation.rows),
    )
    return Study.create(options.out, header, storage=options.storage)


def ablate(
    study: Study,
    ablation: Ablation,
    setting: Setting,
    *,
    seeds: int,
    callbacks: Callbacks,
    executor: Executor | None = None,
    reused: Sequence[TrialRecord] = (),
    stop: Stop | None = None,
    throughput: bool = True,
) -> None:
    """Trains every row with each seed, row after row, then times the rows' full networks.

    A row's images, their order and their augmentation are the same as every other row's with that seed. Cells that are
    stored are not trained again, so more seeds or rows may be asked for later. A cell that was interrupted goes on from
    its last epoch, and ends as if it had not been. A cell of another study that agrees in
    everything is taken from there; a row whose proxy network is another row's shares its scores. Full networks are
    timed last, when nothing trains beside them.

    Args:
        study: The study, of kind "ablate".
        ablation: Its table.
        setting: How networks are trained and scored.
        seeds: Number of seeds in all.
        callbacks: Called for every cell.
        executor: Trains the networks; this process by default.
        reused: Cells of other studies that may be taken, as `reusable` gives them.
        stop: Asked after every step whether to stop.
        throughput: Whether full networks are timed.

    Raises:
        StudyError: The study has another network under a row's name, or another baseline.
    """
    extend(study, ablation)
    stop = stop or Stop()
    cells = _Cells(study, ablation, setting, seeds, callbacks, reused)
    study.sweep_checkpoints()
    try:
        with executor or SerialExecutor(setting) as opened:
            train_jobs(opened, cells.next, cells.take, callbacks=callbacks, stop=stop)
    finally:
        study.sweep_checkpoints()
    if throughput and stop.reason is None:
        _time_rows(study, ablation, setting, callbacks, stop)


class _Cells:
    """The cells that the table lacks, row after row, and what came of them."""

    def __init__(
        self,
        study: Study,
        ablation: Ablation,
        setting: Setting,
        seeds: int,
        callbacks: Callbacks,
        reused: Sequence[TrialRecord],
    ) -> None:
        self._study = study
        self._setting = setting
        self._callbacks = callbacks
        self._reused = reused
        self._left = [trial.number for trial in study.running()]
        there = {(trial.params["row"], trial.params["seed"]) for trial in study.trials()}
        places = [(study.header.rows.index(row), seed) for row in ablation.rows for seed in range(seeds)]
        self._new = [place for place in places if place not in there]
        self._waiting: list[Job] = []
        self._in_workers: dict[int, Job] = {}

    def next(self) -> Job | Outcome | None:
        """The next cell to train, or what is known of it; None while there is none."""
        for job in self._waiting:
            if not self._waits(job):
                self._waiting.remove(job)
                return self._begun(job)
        while (following := self._following()) is not None:
            if not self._waits(following):
                return self._begun(following)
            self._waiting.append(following)
        return None

    def take(self, outcome: Outcome) -> None:
        """What came of a cell."""
        job, study = outcome.job, self._study
        self._in_workers.pop(job.number, None)
        lost = study.lose_worker(job.number) if outcome.lost is not None else 0
        record = record_of(outcome, self._setting, name=f"trial {job.number}", lost=lost)
        if record is None:
            self._waiting += [job] if outcome.lost is not None else []
            return
        study.finish(record)
        reached = f"{record.status}: {record.metric} {record.score}"
        log.info("%s, seed %d, %s in %.1f s", record.label, record.seeds["init"], reached, record.seconds)
        self._callbacks.end(record)

    def _following(self) -> Job | None:
        """The next cell that was interrupted, or is new."""
        study = self._study
        if self._left:
            number = self._left.pop(0)
            log.info("trial %d was interrupted; it continues from its last epoch", number)
        elif self._new:
            row, seed = self._new.pop(0)
            number = study.start({"row": row, "seed": seed}, DISTRIBUTIONS, study.header.rows[row])
        else:
            return None
        params = study.trials()[number].params
        row, seed = study.header.rows[params["row"]], study.header.seed + params["seed"]
        arch, seeds = Arch.from_dict(study.header.setting("rows")[row]), {"init": seed, "order": seed}
        return Job(number=number, label=row, arch=arch, seeds=seeds, checkpoint=study.checkpoint(number))

    def _waits(self, job: Job) -> bool:
        """Whether a cell with the same proxy network and seeds is in training: this one then shares its scores."""
        small, others = self._setting.proxy.shrink(job.arch), [*self._in_workers.values(), *self._waiting]
        return any(
            other.number < job.number and other.seeds == job.seeds and self._setting.proxy.shrink(other.arch) == small
            for other in others
        )

    def _begun(self, job: Job) -> Job | Outcome:
        self._callbacks.begin(job.number, f"{job.label}, seed {job.seeds['init'] - self._study.header.seed}", job.arch)
        record = _reused(job, self._reused) or _shared(job, self._study, self._setting)
        if record is not None:
            return Outcome(job=job, record=record)
        self._in_workers[job.number] = job
        return job


def _reused(job: Job, cells: Sequence[TrialRecord]) -> TrialRecord | None:
    """The cell of another study that trained this network with these seeds."""
    for cell in cells:
        if cell.arch == job.arch and dict(cell.seeds) == job.seeds:
            log.info("trial %d is taken from %s", job.number, cell.environment["reused_from"])
            return replace(cell, number=job.number, label=job.label)
    return None


def _shared(job: Job, study: Study, setting: Setting) -> TrialRecord | None:
    """The cell of a row with the same proxy network and these seeds."""
    small = setting.proxy.shrink(job.arch)
    for twin in study.records():
        trained = twin.status == "complete" and twin.shared_with is None and dict(twin.seeds) == job.seeds
        if trained and setting.proxy.shrink(twin.arch) == small:
            return shared_record(twin, job.arch, setting, number=job.number, label=job.label)
    return None


def check_rows(ablation: Ablation, setting: Setting) -> None:
    """Builds every row as its proxy without weights and counts it at full size, before anything is trained.

    Raises:
        SpaceError: One cannot be built.
    """
    for name, arch in ablation.rows.items():
        try:
            setting.cost_of(arch)
            with torch.device("meta"):  # no memory for weights
                build_proxy(arch, setting)
        except (AcmixError, ValueError, RuntimeError, AssertionError) as error:
            raise SpaceError(f"row {name!r} of {ablation.name} cannot be built: {error} Leave it out.") from error


def extend(study: Study, ablation: Ablation) -> None:
    """Adds rows that the table has gained to a study.

    Raises:
        StudyError: A row's name stands for another network there, or the baseline is another.
    """
    header = study.header
    stored = header.setting("rows")
    for name, arch in ablation.rows.items():
        if name in stored and Arch.from_dict(stored[name]) != arch:
            raise StudyError(
                f"the study {header.name!r} has another network as row {name!r}: {Arch.from_dict(stored[name]).id}, "
                f"now {arch.id}. Give the row a name of its own, or start a new --study."
            )
    if header.baseline != ablation.baseline:
        raise StudyError(
            f"the study {header.name!r} was started with the baseline {header.baseline!r}, now it is "
            f"{ablation.baseline!r}; the baseline is named beforehand: start a new --study."
        )
    new = {name: arch.to_dict() for name, arch in ablation.rows.items() if name not in stored}
    if new:
        settings = {**header.settings, "rows": {**stored, **new}}
        study.header = replace(header, rows=(*header.rows, *new), settings=settings)
        study.keep("header", study.header.to_dict())


def _time_rows(study: Study, ablation: Ablation, setting: Setting, callbacks: Callbacks, stop: Stop) -> None:
    """Images a second of the full networks, measured once for each row; what was timed is kept, whatever ends it."""
    stored: dict[str, float] = dict(study.kept("throughputs") or {})
    batches: dict[str, int] = dict(study.kept("throughput_batches") or {})
    missing = [name for name in ablation.rows if name not in stored]
    size, batch_size = setting.input_size, THROUGHPUT_BATCH[setting.device]
    facts = setting.head_facts
    head = None if facts is None else DenseHead(name=facts["name"], num_classes=len(facts["classes"]))
    for start in range(0, len(missing), TIMED_TOGETHER):
        if stop.check():
            return
        names = missing[start : start + TIMED_TOGETHER]
        callbacks.note(
            f"timing the full networks of {len(names)} rows at {size_text(size)} px, {len(missing) - start} are left; "
            "all trials are stored, --no-throughput leaves this out"
        )
        warn_when_busy(setting.device, callbacks.note)
        archs = {name: ablation.rows[name] for name in names}
        ran, speeds = throughputs(archs, input_size=size, batch_size=batch_size, device=setting.device, head=head)
        study.keep("throughput_batches", batches := {**batches, **dict.fromkeys(speeds, ran)})
        study.keep("throughputs", stored := {**stored, **speeds})


def reusable(header: StudyHeader, records: Sequence[TrialRecord], *, setting: Setting) -> list[TrialRecord]:
    """The cells of another study that need not be trained again: everything that decides a score is the same.

    Raises:
        StudyError: It has no complete trial, or its trials were made otherwise; the message names what differs.
    """
    trained = [item for item in records if item.status == "complete" and item.shared_with is None]
    if not trained:
        raise StudyError(f"--reuse {header.name}: it has no complete trial to take; leave it out.")
    for record in trained:
        different = _difference(record, setting)
        if different is not None:
            path, theirs, ours = different
            raise StudyError(
                f"--reuse {header.name}: trial {record.number} has {path} = {theirs or 'nothing'}, this table has "
                f"{ours or 'nothing'}; their results cannot be in one table. Leave it out, or train with the same "
                "options."
            )
    return [
        replace(record, environment={**record.environment, "reused_from": f"{header.name}:{record.number}"})
        for record in trained
    ]


def _difference(record: TrialRecord, setting: Setting) -> tuple[str, str | None, str | None] | None:
    """Where a record was made otherwise than the setting says: the field, its value there, its value here."""
    theirs = replace(record, environment={name: record.environment.get(name) for name in VERSIONS})
    ours = {
        "split": setting.split,
        "task": setting.task,
        "head": setting.head_facts,
        "metric": pick_metric(setting.learned, setting.metric).name,
        "data": setting.splits.to_dict(),
        "budget": setting.budget.to_dict(),
        "proxy": setting.proxy.to_dict(),
        "environment": {name: setting.environment.get(name) for name in VERSIONS},
    }
    found = (different for name, value in ours.items() for different in differences(name, getattr(theirs, name), value))
    return next(found, None)
