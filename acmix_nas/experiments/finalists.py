"""Finalists: the best of a search trained again, with fresh seeds, scored on images that the search never read."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from optuna.trial import create_trial

from acmix_nas import plugins
from acmix_nas.errors import StudyError
from acmix_nas.executors import Executor, Job, Outcome
from acmix_nas.executors.callbacks import Callbacks, ExperimentCallbacks
from acmix_nas.experiments.options import WorkerOptions, check_task
from acmix_nas.experiments.running import StudyResult, under_way
from acmix_nas.experiments.setup import announce, device_of, load_work_again, workers_of
from acmix_nas.files import append_line, write_text
from acmix_nas.front import front
from acmix_nas.metrics import COSTS, TOP1, Metric
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import render
from acmix_nas.report.finals import stored_finals
from acmix_nas.report.sampling import sampling_notes
from acmix_nas.report.table import Table
from acmix_nas.samplers.distributions import columns_of_space, search_space_of
from acmix_nas.samplers.gp.kernel import Features
from acmix_nas.samplers.gp.surrogate import ModelledObjective
from acmix_nas.samplers.make import encode
from acmix_nas.samplers.observations import Cache, Rows, problem_of
from acmix_nas.search.run import record_of, train_jobs
from acmix_nas.space import Proxy, Space
from acmix_nas.space.stored import space_of
from acmix_nas.study.finals import FINALS, Candidate, fix_list, load_finals, sort_fresh
from acmix_nas.study.folder import CHECKPOINTS, FINAL, find_folder, remove_empty_checkpoints
from acmix_nas.study.stop import Stop
from acmix_nas.study.study import Study
from acmix_nas.train import Setting

log = logging.getLogger(__name__)

RANDOM = 10
"""The baseline of random search is the best of this many of the study's random networks."""
REFERENCES = ("plain host", "paper")
LEAST = 10
"""Complete trials below which the scores themselves are used."""
ASKED = "finalists"
"""What a study keeps of how many networks and seeds were asked for."""
USUAL = 5
"""Networks of the front, and seeds of each, by default."""


@dataclass(frozen=True, kw_only=True)
class FinalistsOptions(WorkerOptions):
    """The options of `acmix finalists`; None stands for what was asked for before, or the default.

    Attributes:
        study: Name of the search, or the path of its folder.
        top: Networks of the front.
        seeds: Fresh seeds of each network, in all.
        data: Where the search's images are now, if they have moved.
        task: What its networks learn, if it is said again.
        head: Their head, if it is said again.
        out: Folder of study folders.
        device: "auto", "cpu" or "cuda".
        storage: URL of the search's database, where that is not study.db in its folder.
    """

    study: str
    top: int | None = None
    seeds: int | None = None
    data: str | None = None
    task: str | None = None
    head: str | None = None
    out: Path = Path("reports")
    device: str = "auto"
    storage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalistsResult(StudyResult):
    """What came of it; `records` are those of the networks trained again.

    Attributes:
        candidates: The list that was fixed beforehand.
        table: The table of fresh scores; None while nothing of it is complete.
    """

    candidates: Sequence[Candidate]
    table: Table | None


def run(options: FinalistsOptions, callbacks: ExperimentCallbacks | None = None) -> FinalistsResult:
    """Trains the best of a search again: fresh seeds, its full budget, report images that it never read.

    Args:
        options: What is asked for, by the names of the command's options.
        callbacks: What the caller is shown while it runs.

    Raises:
        StudyError: There is no such search, it has no complete trial, or its list was fixed with another `top`.
        UsageError: Options contradict each other, or name what is not there.
        DataError: The images cannot be read.
    """
    callbacks = callbacks or ExperimentCallbacks()
    study = Study.open(find_folder(options.study, options.out), storage=options.storage)
    header = study.header
    if header.kind != "search":
        raise StudyError(f"the study {header.name!r} is no search; only a search has finalists.")
    check_task(header.name, options, header.settings.get("task"), header.settings.get("head"))
    device = device_of(options, options.device)
    top, seeds = _asked(study, options)
    proxy = Proxy.from_dict(header.setting("proxy"), f"the header of the study {header.name}")
    workers = workers_of(options, device, proxy, space_of(header), trainings=top * seeds)
    work, setting = load_work_again(study, data=options.data, device=device, progress=callbacks.decode)
    stop = Stop(study.folder, hours=options.hours)
    with study.at_work():
        study.keep(ASKED, {"top": top, "seeds": seeds})
        candidates = fix_list(study.folder, lambda: choose(header, study.records(), top=top), top=top)
        plugins.check_named((name for each in candidates for name in each.arch.named), study.folder)
        fresh = [header.seed + 1 + index for index in range(seeds)]
        sampling = sampling_notes(setting.splits.to_dict()["counts"]["report"], "report", header.metric)
        said = [_announcement(study, candidates, fresh), workers.text, *sampling]
        announce(said, setting.splits, callbacks.note)
        cells = {(each.arch.id, seed) for each in candidates for seed in fresh}
        kept = sort_fresh(load_finals(study.folder), header.settings, seed=header.seed).kept
        stored = [record for record in kept if (record.arch_id, record.seeds["init"]) in cells]
        executor = workers.make(work)
        with under_way(callbacks, stop, "finalists", (header.metric, COSTS["macs"]), len(cells), stored):
            train_finalists(
                study.folder, candidates, setting, seeds=fresh, executor=executor, callbacks=callbacks, stop=stop
            )
        files = render(study.folder, header, study.records())
        trained = stored_finals(study.folder, header)
    return FinalistsResult(
        study=study,
        records=load_finals(study.folder),
        files=[study.folder / FINALS, *files],
        stopped=stop.reason,
        candidates=candidates,
        table=trained.table if trained else None,
    )


def _asked(study: Study, options: FinalistsOptions) -> tuple[int, int]:
    """How many networks and seeds: what is asked for now, or was before."""
    before = study.kept(ASKED, {})
    top = options.top or before.get("top") or USUAL
    seeds = options.seeds or before.get("seeds") or USUAL
    return top, seeds


def _announcement(study: Study, candidates: list[Candidate], seeds: list[int]) -> str:
    named = "\n".join(f"  {candidate.name}: {candidate.arch.id}" for candidate in candidates)
    budget = study.header.setting("budget")
    return (
        f"finalists of {study.header.name}, fixed now; {len(candidates)} networks, seeds {seeds[0]} to {seeds[-1]}, "
        f"{budget['epochs']} epochs, scores on the report split:\n{named}"
    )


def choose(header: StudyHeader, records: Sequence[TrialRecord], *, top: int) -> list[Candidate]:
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
    chosen = [
        _candidate(f"finalist {rank}", record) for rank, record in enumerate(_best(header, complete, top, means), 1)
    ]
    chosen += _references(header, complete)
    random = [record for record in complete if record.label == "random"][:RANDOM]
    if random:
        best = max(random, key=lambda record: (header.metric.gain(record.score or 0.0), -record.number))
        chosen.append(_candidate(f"best of {len(random)} random", best))
    found: dict[str, Candidate] = {}
    for each in chosen:
        known = found.setdefault(each.arch.id, each)
        if known is not each:
            found[each.arch.id] = replace(known, names=(*known.names, *each.names))
    return list(found.values())


def posterior_means(space: Space, records: Sequence[TrialRecord], metric: Metric = TOP1) -> dict[int, float]:
    """The posterior mean of every complete trial's score; their scores where there are fewer than `LEAST`.

    Args:
        space: The space of the search.
        records: Its records.
        metric: What the scores are.

    Returns:
        Number of the trial -> mean.
    """
    scores = {record.number: (record.score, record.arch) for record in records if record.score is not None}
    if len(scores) < LEAST:
        return {number: score for number, (score, _) in scores.items()}
    encoded = [(metric.gain(score), *encode(space, space.values(arch))) for score, arch in scores.values()]
    trials = [create_trial(value=gain, params=params, distributions=ranges) for gain, params, ranges in encoded]
    columns = columns_of_space(space)
    search_space = search_space_of(space, columns)
    rows = np.array([columns.row(trial.params) for trial in trials])
    problem = problem_of(search_space, trials, rows, [1], {}, {}, Cache())
    features = Features.of(search_space.parameters, np.asarray(np.isnan(problem.rows).any(axis=0)))
    model = ModelledObjective(problem, problem.objectives[0], features, features.encode(problem.rows))
    means = model.smoothed(np.arange(len(problem.rows)), raw=True)
    return dict(zip(scores, (metric.gain(float(means[row])) for row in Rows.of(rows).place), strict=True))


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
    todo = _left(folder, candidates, setting, seeds)
    lost = Counter[int]()

    def next_job() -> Job | None:
        if not todo:
            return None
        job = todo.pop(0)
        callbacks.begin(job.number, f"{job.label}, seed {job.seeds['init']}", job.arch)
        return job

    def take(outcome: Outcome) -> None:
        job = outcome.job
        lost[job.number] += outcome.lost is not None
        record = record_of(outcome, setting, name=job.label, lost=lost[job.number])
        if record is None:
            todo.extend([job] if outcome.lost is not None else [])
            return
        append_line(folder / FINALS, record.to_json())
        job.checkpoint.unlink(missing_ok=True)
        reached = f"{record.status}: {record.metric} {record.score}"
        log.info("%s, seed %d, %s", job.label, job.seeds["init"], reached)
        callbacks.end(record)

    with executor:
        train_jobs(executor, next_job, take, callbacks=callbacks, stop=stop)
    remove_empty_checkpoints(folder)


def _left(folder: Path, candidates: Sequence[Candidate], setting: Setting, seeds: Sequence[int]) -> list[Job]:
    """The cells that are still to be trained; what a kill left half-written is cleared away."""
    stored = load_finals(folder)
    write_text(folder / FINALS, "".join(record.to_json() + "\n" for record in stored))
    for record in stored:  # a kill may have come between a cell's line and this
        _checkpoint(folder, record.arch_id, record.seeds["init"]).unlink(missing_ok=True)
    splits, budget, proxy = setting.splits, setting.budget.to_dict(), setting.proxy.to_dict()
    fresh = sort_fresh(stored, {"data": splits.fingerprint, "budget": budget, "proxy": proxy})
    done = {(record.arch_id, record.seeds["init"]) for record in fresh.kept if record.status == "complete"}
    return [
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


def _checkpoint(folder: Path, arch_id: str, seed: int) -> Path:
    return folder / CHECKPOINTS / f"{FINAL}{arch_id}-{seed}.ckpt"


def _best(
    header: StudyHeader, complete: Sequence[TrialRecord], top: int, means: Mapping[int, float]
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


def _references(header: StudyHeader, complete: Sequence[TrialRecord]) -> list[Candidate]:
    """Plain host and the paper's network, also where the search did not train them."""
    trained = {record.label: record for record in reversed(complete)}
    first, found = header.settings.get("first", {}), list[Candidate]()
    for name in REFERENCES:
        if name in trained:
            found.append(_candidate(name, trained[name]))
        elif name in first:
            found.append(Candidate(names=(name,), arch=space_of(header).build(first[name])))
    return found


def _candidate(name: str, record: TrialRecord) -> Candidate:
    return Candidate(names=(name,), arch=record.arch, trial=record.number, score=record.score)
