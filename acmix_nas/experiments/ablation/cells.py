"""The study of an ablation table: every row is trained with the same seeds, each cell once."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from optuna.distributions import BaseDistribution, IntDistribution
from torch import nn

from acmix_nas.arch import Arch
from acmix_nas.cost import count
from acmix_nas.cost.profile import throughputs
from acmix_nas.errors import AcmixError, SpaceError, StudyError
from acmix_nas.executors import Job
from acmix_nas.executors.callbacks import Callbacks, ExperimentCallbacks
from acmix_nas.executors.jobs import run_job
from acmix_nas.experiments.ablation.reuse import Source, open_source, stored_cell
from acmix_nas.experiments.ablation.table import Ablation, AblationOptions
from acmix_nas.experiments.running import StudyResult, run_study
from acmix_nas.experiments.setup import (
    check_resumed,
    find_study,
    header_of,
    load_work,
    metric_of,
    pick_device,
    settings_of,
)
from acmix_nas.record import TrialRecord
from acmix_nas.report import View
from acmix_nas.sizes import size_text
from acmix_nas.study import load
from acmix_nas.study.folder import DATABASE, find_folder
from acmix_nas.study.lock import LOG
from acmix_nas.study.study import Study
from acmix_nas.train import Setting
from acmix_nas.train.trial import build_proxy, shared_record

log = logging.getLogger(__name__)

MOST_SEEDS = 1000
MOST_ROWS = 10_000
THROUGHPUT_BATCH = {"cpu": 4, "cuda": 64}
"""Images in a batch when the full networks are timed, by device."""
TIMED_TOGETHER = 12
"""Full networks that are in memory at once while they are timed."""


def run_table(ablation: Ablation, options: AblationOptions, callbacks: ExperimentCallbacks | None) -> StudyResult:
    """Makes or resumes the study of a table, trains its cells and renders it; `ablation.run` with the table loaded."""
    callbacks = callbacks or ExperimentCallbacks()
    for note in ablation.notes:
        callbacks.note(note)
    device = pick_device(options.device)
    study, options = find_study(options, ablation.name)
    is_new, header = study is None, study.header if study else None
    _, setting = load_work(
        options, ablation.space, split="report", device=device, like=header, progress=callbacks.decode
    )
    if study is None:
        study = _create(ablation, options, setting)
    else:
        check_resumed(study.header, setting)
    seeds = options.seeds or _asked_seeds(study) or ablation.seeds
    try:
        check_rows(ablation, setting)
        sources = [open_source(*load(find_folder(name, options.out)), setting) for name in options.reuse]
    except AcmixError:
        if is_new:
            _discard(study)
        raise
    return run_study(
        study,
        setting,
        callbacks,
        asked={"seeds": seeds, **({"data": options.data} if options.data else {})},
        total=seeds * len(ablation.rows),
        view=View(columns=options.columns, compare=options.compare),
        run=lambda callbacks: ablate(study, ablation, setting, seeds=seeds, callbacks=callbacks, sources=sources),
    )


def _create(ablation: Ablation, options: AblationOptions, setting: Setting) -> Study:
    """A new study."""
    settings = {
        **settings_of(setting),
        "rows": {name: arch.to_dict() for name, arch in ablation.rows.items()},
        "base": ablation.base.to_dict(),
        "notes": list(ablation.notes),
        "asked": {**options.remembered(), "seeds": options.seeds or ablation.seeds},
    }
    header = header_of(
        options,
        kind="ablate",
        name=ablation.name,
        host=ablation.space.host,
        split=setting.split,
        metric=metric_of(options),
        settings=settings,
        baseline=ablation.baseline,
        rows=tuple(ablation.rows),
    )
    return Study.create(options.out, header, storage=options.storage)


def _asked_seeds(study: Study) -> int | None:
    """Seeds that were asked for before; 0.1 kept only the number of cells."""
    asked, goal, rows = study.asked.get("seeds"), study.kept("goal"), len(study.header.rows)
    if isinstance(asked, int) or not isinstance(goal, int):
        return asked
    return goal // rows or None


def _discard(study: Study) -> None:
    """Takes a study without trials away again, so that its name is free for the next try."""
    (study.folder / DATABASE).unlink()
    log = study.folder / LOG
    with suppress(OSError):  # other files lie there
        if not log.stat().st_size:
            log.unlink()
        study.folder.rmdir()


def ablate(
    study: Study,
    ablation: Ablation,
    setting: Setting,
    *,
    seeds: int,
    callbacks: Callbacks,
    sources: Sequence[Source] = (),
) -> None:
    """Trains every row with each seed: all rows with the first, then all with the second.

    A row's images, their order and their augmentation are the same as every other row's with that seed. Cells that are
    stored are not trained again, so more seeds or rows may be asked for later. A cell that was interrupted goes on from
    its last epoch, and ends as if it had not been. A cell of another study that agrees in
    everything is taken from there; a row whose proxy network is another row's shares its scores.

    Args:
        study: The study, of kind "ablate".
        ablation: Its table.
        setting: How networks are trained and scored.
        seeds: Number of seeds in all.
        callbacks: Called for every cell.
        sources: Other studies whose cells may be taken.

    Raises:
        StudyError: The study has another network under a row's name, or another baseline.
    """
    extend(study, ablation)
    cells = _Cells(study, setting, callbacks, _throughputs(study, ablation, setting, callbacks), sources)
    study.sweep_checkpoints()
    try:
        _fill(study, ablation, cells, seeds)
    finally:
        study.sweep_checkpoints()


def _fill(study: Study, ablation: Ablation, cells: "_Cells", seeds: int) -> None:
    for left in study.running():
        log.info("trial %d was interrupted; it continues from its last epoch", left.number)
        cells.fill(left.number, study.header.rows[left.params["row"]], left.params["seed"])
    there = {(trial.params["row"], trial.params["seed"]) for trial in study.trials()}
    for seed in range(seeds):
        for row in ablation.rows:
            params = {"row": study.header.rows.index(row), "seed": seed}
            if (params["row"], seed) not in there:
                cells.fill(study.start(params, _distributions(), row), row, seed)


def check_rows(ablation: Ablation, setting: Setting) -> None:
    """Builds every row as its proxy without weights and counts it at full size, before anything is trained.

    Raises:
        SpaceError: One cannot be built.
    """
    for name, arch in ablation.rows.items():
        try:
            count(arch, setting.input_size)
            _outline(arch, setting)
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


@dataclass(frozen=True, slots=True)
class _Cells:
    """Fills the cells of a table."""

    study: Study
    setting: Setting
    callbacks: Callbacks
    throughputs: Mapping[str, float]
    sources: Sequence[Source]

    def fill(self, number: int, row: str, index: int) -> None:
        arch, seed = Arch.from_dict(self.study.header.setting("rows")[row]), self.study.header.seed + index
        self.callbacks.begin(number, f"{row}, seed {index}", arch)
        seeds = {"init": seed, "order": seed}
        job = Job(number=number, label=row, arch=arch, seeds=seeds, checkpoint=self.study.checkpoint(number))
        record = self._found(arch, seeds, number, row) or run_job(
            job, self.setting, partial(self.callbacks.step, number)
        )
        record = replace(record, environment={**record.environment, **self._speed(row)})
        self.study.finish(record)
        self.study.drop_checkpoint(number)
        reached = f"{record.status}: {record.metric} {record.score}"
        log.info("%s, seed %d, %s in %.1f s", row, seed, reached, record.seconds)
        self.callbacks.end(record)

    def _found(self, arch: Arch, seeds: Mapping[str, int], number: int, row: str) -> TrialRecord | None:
        """The cell's record if it need not be trained."""
        for source in self.sources:
            record = stored_cell(source, arch, seeds)
            if record is not None:
                origin = f"{source.name}:{record.number}"
                environment = {**record.environment, "reused_from": origin}
                log.info("trial %d is taken from %s", number, origin)
                return replace(record, number=number, label=row, environment=environment)
        small = self.setting.proxy.shrink(arch)
        for twin in self.study.records():
            trained = twin.status == "complete" and twin.shared_with is None and dict(twin.seeds) == dict(seeds)
            if trained and self.setting.proxy.shrink(twin.arch) == small:
                return shared_record(twin, arch, self.setting, number=number, label=row)
        return None

    def _speed(self, row: str) -> dict[str, Any]:
        batch_size = THROUGHPUT_BATCH[self.setting.device]
        return {"throughput_img_per_s": self.throughputs.get(row), "throughput_batch_size": batch_size}


def _throughputs(study: Study, ablation: Ablation, setting: Setting, callbacks: Callbacks) -> dict[str, float]:
    """Images a second of the full networks, measured once for each row, before anything trains beside it."""
    stored: dict[str, float] = dict(study.kept("throughputs") or {})
    missing = [name for name in ablation.rows if name not in stored]
    if missing:
        callbacks.note(f"timing {len(missing)} full networks at {size_text(setting.input_size)} px")
        size, batch_size = setting.input_size, THROUGHPUT_BATCH[setting.device]
        for start in range(0, len(missing), TIMED_TOGETHER):
            archs = {name: ablation.rows[name] for name in missing[start : start + TIMED_TOGETHER]}
            stored |= throughputs(archs, input_size=size, batch_size=batch_size, device=setting.device)
        study.keep("throughputs", stored)
    return stored


def _outline(arch: Arch, setting: Setting) -> nn.Module:
    """The proxy network of an arch without memory for its weights."""
    with torch.device("meta"):
        return build_proxy(arch, setting)


def _distributions() -> dict[str, BaseDistribution]:
    """A row is its place among the study's rows: their number may grow, options of a name could not."""
    return {"row": IntDistribution(0, MOST_ROWS - 1), "seed": IntDistribution(0, MOST_SEEDS - 1)}
