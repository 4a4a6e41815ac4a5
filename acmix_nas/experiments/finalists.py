"""Finalists: the best of a search trained again, with fresh seeds, scored on images that the search never read."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from acmix_nas.arch import Arch
from acmix_nas.errors import StudyError
from acmix_nas.executors import Executor, Job
from acmix_nas.executors.callbacks import Callbacks
from acmix_nas.executors.jobs import failed_record
from acmix_nas.experiments.posterior import posterior_means
from acmix_nas.files import write_text
from acmix_nas.front import front
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.search.run import MOST_LOST
from acmix_nas.space.stored import space_of
from acmix_nas.study.finals import FINALS, Candidate, load_finals, sort_fresh
from acmix_nas.study.folder import CHECKPOINTS, FINAL, remove_empty_checkpoints
from acmix_nas.study.record_file import append_record
from acmix_nas.study.stop import Stop
from acmix_nas.train import Progress, Setting

log = logging.getLogger(__name__)

RANDOM = 10
"""The baseline of random search is the best of so many of the study's random networks."""
REFERENCES = ("plain host", "paper")


def choose(
    header: StudyHeader,
    records: Sequence[TrialRecord],
    *,
    top: int,
) -> list[Candidate]:
    """The networks to train again: the best of the front, plain host, the paper's, the best of random ones.

    The front is ranked by the posterior mean of the search's Gaussian process, which luck moves less than a score.
    Where the front has fewer than `top` networks, those follow that only the front beats, and so on.

    Args:
        header: Header of the search.
        records: Its records.
        top: Number of finalists.

    Raises:
        StudyError: No trial of the search is complete.
    """
    complete = [record for record in records if record.status == "complete"]
    if not complete:
        raise StudyError(f"the study {header.name!r} has no complete trial yet; run acmix search first.")
    means = posterior_means(space_of(header), complete, header.metric)
    chosen = [(f"finalist {rank}", record) for rank, record in enumerate(_best(header, complete, top, means), 1)]
    named: list[tuple[str, Arch, TrialRecord | None]] = [(name, record.arch, record) for name, record in chosen]
    named += _references(header, complete)
    random = [record for record in complete if record.label == "random"][:RANDOM]
    if random:
        best = max(random, key=lambda record: (header.metric.gain(record.score or 0.0), -record.number))
        named.append((f"best of {len(random)} random", best.arch, best))
    found: dict[str, Candidate] = {}
    for name, arch, trained in named:
        known = found.get(arch.id)
        if known is not None:
            found[arch.id] = replace(known, names=(*known.names, name))
        else:
            number, score = (trained.number, trained.score) if trained else (None, None)
            found[arch.id] = Candidate(names=(name,), arch=arch, trial=number, score=score)
    return list(found.values())


def train_finalists(
    folder: Path,
    candidates: Sequence[Candidate],
    setting: Setting,
    *,
    seeds: Sequence[int],
    executor: Executor,
    callbacks: Callbacks,
    stop: Stop,
) -> None:
    """Trains every candidate with every seed; cells stored that were trained as the setting says are not trained again.

    Args:
        folder: The study's folder.
        candidates: The list.
        setting: How the search trained, scored on the report split.
        seeds: Fresh seeds, the same for all candidates.
        executor: Trains the networks.
        callbacks: Called for every cell.
        stop: Asked after every step whether to stop.
    """
    stored = load_finals(folder)
    write_text(folder / FINALS, "".join(record.to_json() + "\n" for record in stored))
    for record in stored:  # a kill may have come between a cell's line and this
        _checkpoint(folder, record.arch_id, record.seeds["init"]).unlink(missing_ok=True)
    splits, budget, proxy = setting.splits, setting.budget.to_dict(), setting.proxy.to_dict()
    fresh = sort_fresh(stored, {"data": splits.fingerprint, "budget": budget, "proxy": proxy})
    done = {(record.arch_id, record.seeds["init"]) for record in fresh.kept if record.status == "complete"}
    todo = [
        Job(
            number=row + len(candidates) * column,
            label=candidate.name,
            arch=candidate.arch,
            seeds={"init": seed, "order": seed},
            checkpoint=_checkpoint(folder, candidate.arch.id, seed),
        )
        for column, seed in enumerate(seeds)
        for row, candidate in enumerate(candidates)
        if (candidate.arch.id, seed) not in done
    ]
    with executor:
        _Cells(folder, setting, executor, callbacks, stop).run(todo)
    remove_empty_checkpoints(folder)


def _checkpoint(folder: Path, arch_id: str, seed: int) -> Path:
    return folder / CHECKPOINTS / f"{FINAL}{arch_id}-{seed}.ckpt"


class _Cells:
    """Has cells trained and keeps what they reach."""

    def __init__(self, folder: Path, setting: Setting, executor: Executor, callbacks: Callbacks, stop: Stop) -> None:
        self._folder = folder
        self._setting = setting
        self._executor = executor
        self._callbacks = callbacks
        self._stop = stop
        self._lost: dict[int, int] = {}

    def run(self, todo: list[Job]) -> None:
        running = 0
        while True:
            while todo and running < self._executor.workers and not self._stop.check():
                job = todo.pop(0)
                self._callbacks.begin(job.number, f"{job.label}, seed {job.seeds['init']}", job.arch)
                self._executor.submit(job)
                running += 1
            if not running:
                return
            for outcome in self._executor.wait(self._step):
                running -= 1
                if outcome.lost is not None:
                    todo += self._lose(outcome.job, outcome.lost)
                elif outcome.failed is not None:
                    self._keep(outcome.job, failed_record(outcome.job, self._setting, outcome.failed))
                elif outcome.record is not None:
                    self._keep(outcome.job, outcome.record)
            if self._stop.check():
                self._executor.halt()

    def _step(self, number: int, progress: Progress) -> None:
        self._callbacks.step(progress)
        if self._stop.check():
            self._executor.halt()

    def _lose(self, job: Job, reason: str) -> list[Job]:
        self._lost[job.number] = lost = self._lost.get(job.number, 0) + 1
        log.warning("%s lost its worker: %s", job.label, reason)
        if lost < MOST_LOST:
            return [job]
        self._keep(job, failed_record(job, self._setting, f"{reason}; {lost} times in all"))
        return []

    def _keep(self, job: Job, record: TrialRecord) -> None:
        append_record(self._folder / FINALS, record)
        job.checkpoint.unlink(missing_ok=True)
        reached = f"{record.status}: {record.metric} {record.score}"
        log.info("%s, seed %d, %s", job.label, job.seeds["init"], reached)
        self._callbacks.end(record)


def _best(
    header: StudyHeader,
    complete: Sequence[TrialRecord],
    top: int,
    means: Mapping[int, float],
) -> list[TrialRecord]:
    """The best of the front by posterior mean, then of what is left without it."""
    best: list[TrialRecord] = []
    left = list({record.arch_id: record for record in reversed(complete)}.values())
    while left and len(best) < top:
        layer = front(left, header.measures)
        left = [record for record in left if record not in layer]
        ranked = sorted(layer, key=lambda item: (-header.metric.gain(means[item.number]), item.number))
        best += ranked[: top - len(best)]
    return best


def _references(header: StudyHeader, complete: Sequence[TrialRecord]) -> list[tuple[str, Arch, TrialRecord | None]]:
    """Plain host and the paper's network, also where the search did not train them."""
    found: list[tuple[str, Arch, TrialRecord | None]] = []
    first = header.settings.get("first", {})
    for name in REFERENCES:
        record = next((record for record in complete if record.label == name), None)
        if record is not None:
            found.append((name, record.arch, record))
        elif name in first:
            found.append((name, space_of(header).build(first[name]), None))
    return found
