"""Trains the cells of an ablation table: every row with the same seeds, each cell once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from optuna.distributions import BaseDistribution, IntDistribution
from torch import nn

from acmix_nas.arch import Arch
from acmix_nas.cost import count
from acmix_nas.cost.profile import throughputs
from acmix_nas.errors import AcmixError, SpaceError, StudyError
from acmix_nas.executors import Job
from acmix_nas.executors.callbacks import Callbacks
from acmix_nas.executors.jobs import run_job
from acmix_nas.experiments.ablation.reuse import Source, stored_cell
from acmix_nas.experiments.ablation.table import Ablation
from acmix_nas.record import TrialRecord
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


def ablate(
    study: Study,
    ablation: Ablation,
    setting: Setting,
    *,
    seeds: int,
    callbacks: Callbacks,
    sources: Sequence[Source] = (),
) -> None:
    """Trains every row with so many seeds: all rows with the first, then all with the second.

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
        log.info("trial %d was interrupted; it goes on from its last epoch", left.number)
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
            f"the study {header.name!r} was begun with the baseline {header.baseline!r}, now it is "
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
        record = self._found(arch, seeds, number, row) or run_job(job, self.setting, self.callbacks.step)
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
        callbacks.note(f"timing {len(missing)} full networks at {setting.input_size} px")
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
