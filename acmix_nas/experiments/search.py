"""A search from what was asked to its report."""

import hashlib
import json
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from acmix_nas import __version__
from acmix_nas.cost.latency import LatencyTable
from acmix_nas.errors import CostError, StudyError, UsageError
from acmix_nas.executors import Work
from acmix_nas.executors.callbacks import ExperimentCallbacks
from acmix_nas.executors.table import TableExecutor, TrainingTable, table_file
from acmix_nas.experiments.options import StudyOptions, WorkerOptions
from acmix_nas.experiments.running import StudyResult, run_study
from acmix_nas.experiments.scored_starts import ScoredStarts, scored_starts
from acmix_nas.experiments.setup import (
    Workers,
    check_resumed,
    device_of,
    examples_of,
    find_study,
    load_work,
    metric_of,
    pick_proxy,
    settings_of,
    task_of,
    workers_of,
)
from acmix_nas.experiments.stored_fidelity import Fidelity, find_fidelity, learned_of
from acmix_nas.fields import Origin
from acmix_nas.record import StudyHeader
from acmix_nas.samplers.make import check_sampler
from acmix_nas.search.candidates import SAMPLER
from acmix_nas.search.objectives import (
    TABLE,
    Prices,
    amount,
    check_table,
    parse_objectives,
    prices_of,
    reference,
)
from acmix_nas.search.order import FIXED, default_order, lag_of
from acmix_nas.search.run import search
from acmix_nas.search.rungs import rungs_of
from acmix_nas.search.warm import bring_over
from acmix_nas.space import Space, load_space
from acmix_nas.space.arch_file import load_arch
from acmix_nas.space.stored import definition
from acmix_nas.study import load
from acmix_nas.study.folder import find_folder, has_study, next_name
from acmix_nas.study.settings import check_same
from acmix_nas.study.stop import Stop
from acmix_nas.study.study import Study
from acmix_nas.train import Setting

TRIALS = 12
"""Networks that a search trains by default."""
LEAST_ROUNDS = 3
"""A search by itself takes no more workers than leave this many trials for each: later ones learn from earlier ones."""
PRUNED_FROM = 3
"""Epochs of the smallest budget that is pruned by default."""
RANDOM = "random"
OF_TRAINING = (
    "data",
    "task",
    "head",
    "epochs",
    "proxy",
    "proxy_images",
    "workers",
    "gpus",
    "trial_minutes",
    "trial_memory",
)
"""Options of how and where networks train, of which a table of finished trainings leaves nothing to say."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions(StudyOptions, WorkerOptions):
    """The options of `acmix search`; None stands for the default, or, on resuming, for what the study has.

    Attributes:
        space: A name of `acmix spaces`, or a YAML file.
        trials: Networks to train; on resuming the total.
        first: best.yaml of other studies, trained first.
        objectives: What is optimised, with commas between, as "top1,macs".
        max_macs: Largest number of multiply-adds of a network.
        max_params: Largest number of parameters.
        max_latency_ms: Largest latency in milliseconds that the latency table says.
        latency_table: File of the latencies of the space's blocks.
        sampler: What proposes networks after the random ones.
        prune: "asha" or "none".
        order: "fixed": what is proposed depends on no time; "free": each result counts when it arrives.
        warm_start: Studies whose trials are brought over.
        starts: "random" draws all networks before the sampler's at random; by default half of them are chosen by scores
            that `acmix data fidelity` showed to rank the space's networks, if it showed any.
    """

    space: str
    trials: int | None = None
    first: tuple[Path, ...] = ()
    objectives: str | None = None
    max_macs: float | None = None
    max_params: float | None = None
    max_latency_ms: float | None = None
    latency_table: Path | None = None
    sampler: str | None = None
    prune: str | None = None
    order: str | None = None
    warm_start: tuple[str, ...] = ()
    starts: str | None = None

    @property
    def limits(self) -> dict[str, float]:
        """Name of a cost -> its largest value, for those that are limited."""
        limits = {"macs": self.max_macs, "params": self.max_params, "latency_ms": self.max_latency_ms}
        return {name: most for name, most in limits.items() if most is not None}


def run(options: SearchOptions, callbacks: ExperimentCallbacks | None = None) -> StudyResult:
    """Searches a space: trains shrunken networks and keeps those that nothing beats in accuracy and cost.

    Args:
        options: What is asked for, by the names of the command's options.
        callbacks: What the caller is shown while it runs.

    Raises:
        UsageError: Options contradict each other, or name what is not there.
        SpaceError: The space or a network to try first cannot be read.
        StudyError: The study's name is taken, or it cannot be resumed in this way.
        DataError: The images cannot be read.
        RecordError: The table of `--executor table:FILE` is none.
    """
    callbacks = callbacks or ExperimentCallbacks()
    space = load_space(options.space)
    given = {f"given: {file.parent.name or file.stem}": space.values(load_arch(file)) for file in options.first}
    device = device_of(options, options.device)
    study, options = find_study(options, space.name)
    options = options.of_space(space.task, space.head)
    if study is None:
        check_new(options, space)
    trials = options.trials or (study and study.asked.get("trials")) or TRIALS
    replayed = _replayed(options, space)
    if study is not None:
        _check_table(study.header, replayed)
    if replayed is None:
        proxy = pick_proxy(space, options, device)
        workers = workers_of(options, device, proxy, space, trainings=trials, at_once=ceil(trials / LEAST_ROUNDS))
        work, setting = load_work(options, space, study, split="search", device=device, progress=callbacks.decode)
    else:
        workers = Workers(1, lambda _: TableExecutor(replayed), str(replayed))
        work, setting = Work.of(replayed.setting, load=lambda: replayed.setting.splits, source=None), replayed.setting
    if study is None:
        space = replace(space, first={**given, **space.first})
        study = _create(options, space, setting, workers=workers.count, replayed=replayed)
    else:
        check_resumed(study.header, setting, space=definition(space))
        _check_resumed(options, study.header)
    hours = options.hours or study.asked.get("hours")
    space = replace(space, first=study.header.setting("first"))
    prices = prices_of(study, setting.input_size, setting.cost_of)
    stop = Stop(study.folder, hours=hours)
    with study.at_work():
        brought = _bring(study, space, setting, prices, options)
        return run_study(
            study,
            setting,
            callbacks,
            asked={"trials": trials, "hours": hours, "data": options.data},
            total=trials + study.brought,
            run=lambda callbacks: search(
                study,
                space,
                setting,
                trials=trials,
                callbacks=callbacks,
                executor=workers.make(work),
                stop=stop,
                prices=prices,
            ),
            stop=stop,
            notes=[workers.text, _aims(study.header), _validity(study, space, setting), *brought],
        )


def check_new(options: SearchOptions, space: Space) -> None:
    """Refuses what a new study of a space cannot begin with.

    Raises:
        UsageError: An objective is unknown or, as a limit may, needs a latency table, or there is no such sampler.
        PluginError: The user's own sampler cannot be imported.
        CostError: The table is unreadable, or does not know the space.
    """
    objectives = _objectives(options, space)
    check_sampler(options.sampler or SAMPLER)
    if options.latency_table is not None and task_of(options).own_sizes:
        raise UsageError("a latency table times classifiers, and this task's networks have another head; leave it out.")
    check_table(objectives, options.limits, _table(options), space)


def _replayed(options: SearchOptions, space: Space) -> TrainingTable | None:
    """The table of `--executor table:FILE`, if it was given."""
    file = table_file(options.executor)
    if file is None:
        return None
    said = [f"--{name.replace('_', '-')}" for name in OF_TRAINING if getattr(options, name) is not None]
    if said and not options.resume:  # a study that is resumed recalls what it was told
        raise UsageError(f"--executor {options.executor} trains nothing; leave out {', '.join(said)}.")
    return TrainingTable.load(file, input_size=space.input_size, metric=options.metric)


def _check_table(header: StudyHeader, replayed: TrainingTable | None) -> None:
    """Refuses to go on with a study that was replayed without its table, or with another one.

    Raises:
        StudyError: The message says what to add, or to leave out.
    """
    then = header.settings.get("table")
    if then is not None and replayed is None:
        raise StudyError(
            f"the study {header.name!r} was replayed from a table of trainings; add --executor table:FILE with it."
        )
    if replayed is not None and then != replayed.digest:
        was = "replayed from another table of trainings" if then else "trained, not replayed"
        fix = "Name its own table" if then else "Leave --executor table: out"
        raise StudyError(
            f"the study {header.name!r} was {was}; results of the two cannot be mixed in one study. {fix}, or start a "
            "new --study."
        )


def _objectives(options: SearchOptions, space: Space) -> tuple[str, ...]:
    metric = metric_of(options)
    return parse_objectives(options.objectives, metric) if options.objectives else (metric.name, space.cost)


def _table(options: SearchOptions) -> LatencyTable | None:
    return LatencyTable.load(options.latency_table) if options.latency_table else None


def _digest(file: Path) -> str:
    """Tells latency tables apart by what they say."""
    content = json.dumps(Origin(file, CostError).read(), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _check_resumed(options: SearchOptions, header: StudyHeader) -> None:
    """Refuses to go on with a study in another way than it began."""
    said: dict[str, Any] = {"limits": options.limits or None}
    said |= {name: getattr(options, name) for name in ("prune", "sampler", "order")}
    if options.latency_table is not None:
        before = header.settings.get("latency_table") or {}
        said["latency_table"] = {**before, "sha256": _digest(options.latency_table)}
    check_same(header, {name: value for name, value in said.items() if value is not None})
    if options.objectives:
        began = replace(header, settings={"objectives": list(header.objectives)})
        check_same(began, {"objectives": list(parse_objectives(options.objectives, metric_of(options)))})


def _create(
    options: SearchOptions,
    space: Space,
    setting: Setting,
    *,
    workers: int,
    replayed: TrainingTable | None,
) -> Study:
    """A new study."""
    trials, epochs, metric = options.trials or TRIALS, setting.budget.epochs, metric_of(options)
    objectives, table = _objectives(options, space), _table(options)
    prune = options.prune or ("asha" if epochs >= PRUNED_FROM else "none")
    order = options.order or default_order(workers, prunes=prune == "asha")
    if options.prune == "asha" and not rungs_of(epochs):
        raise UsageError(f"--prune asha stops trials between epochs, and the budget has {epochs}; add --epochs.")
    starts, prices = max(2, min(10, trials // 4)), Prices(setting.input_size, table, setting.cost_of)
    scored = ScoredStarts()
    if options.starts != RANDOM:
        scored = scored_starts(
            space,
            setting,
            _fidelity(options.out, space, setting),
            prices,
            limits=options.limits,
            seed=options.seed or 0,
            starts=starts,
            trials=trials,
            has_images=replayed is None,
        )
    timed = None
    if table is not None and options.latency_table is not None:
        timed = {"sha256": _digest(options.latency_table), "device_name": table.env.get("device_name")}
    settings = {
        **settings_of(setting),
        **examples_of(setting),
        "space": definition(space),
        "random_starts": starts,
        "scored_starts": {"by": scored.text, "values": list(scored.values)} if scored.values else None,
        "first": space.first,
        "reference": reference(space, space.first, objectives, prices, metric=metric),
        "prune": prune,
        "sampler": options.sampler or SAMPLER,
        "order": order,
        "lag": lag_of(workers, prunes=prune == "asha") if order == FIXED else None,
        "limits": options.limits,
        "latency_table": timed,
        "table": replayed and replayed.digest,
        "warm_start": list(options.warm_start),
        "asked": {**options.remembered(), "trials": trials, "hours": options.hours},
    }
    header = StudyHeader(
        name=options.study or next_name(options.out, space.name),
        kind="search",
        space=space.name,
        host=space.host,
        split=setting.split,
        metric=metric,
        objectives=objectives,
        seed=options.seed or 0,
        command=options.command,
        version=__version__,
        settings=settings,
    )
    fill = None if table is None else lambda folder: table.save(folder / TABLE)
    return Study.create(options.out, header, storage=options.storage, fill=fill)


def _bring(study: Study, space: Space, setting: Setting, prices: Prices, options: SearchOptions) -> list[str]:
    """Brings over what other studies trained, also what a kill kept from it before; returns what is said of it."""
    lines, left = [], list[str]()
    if len(study.trials()) <= study.brought:  # it has no trial of its own yet
        names = map(str, study.header.settings.get("warm_start", []))
        left = [name for name in names if Path(name).name == name and has_study(options.out / name)]
    for name in dict.fromkeys([*left, *options.warm_start]):
        header, records = load(find_folder(name, options.out), storage=options.storage)
        lines.append(str(bring_over(study, space, setting, prices, header=header, records=records)))
    return lines


def _aims(header: StudyHeader) -> str:
    """What is optimised, limited and pruned, in a line."""
    settings = header.settings
    limits = [f"{name} at most {amount(most)}" for name, most in settings.get("limits", {}).items()]
    table = settings.get("latency_table")
    timed = [f"latency from a table of {table['device_name']}"] if table else []
    sampler = f"sampler {settings.get('sampler', 'hamming-gp')}"
    pruned = ["trials are pruned (asha)"] if settings.get("prune") == "asha" else []
    lag = settings.get("lag")
    order = ["free order"] if lag is None else [f"fixed order, lag {lag}"] if lag > 1 else []
    scored = settings.get("scored_starts")
    starts = [scored["by"]] if scored else []
    aims = f"objectives: {' and '.join(header.objectives)}"
    return ", ".join([aims, *limits, *timed, sampler, *starts, *order, *pruned])


def _fidelity(out: Path, space: Space, setting: Setting) -> Fidelity | None:
    """What was measured of the proxy on these images."""
    return find_fidelity(out, space, setting.proxy, setting.splits, learned_of(setting))


def _validity(study: Study, space: Space, setting: Setting) -> str:
    """How well the proxy ranks networks, as far as `acmix data fidelity` measured it, in a line."""
    found = _fidelity(study.folder.parent, space, setting)
    if found is None:
        return "proxy unvalidated: `acmix data fidelity` measures whether it ranks networks as longer training does"
    rank = found.agreements["proxy"].spearman
    return (
        f"proxy: rank correlation {rank.value:.2f} [{rank.low:.2f}, {rank.high:.2f}] with "
        f"{found.large['epochs']} epochs of {found.large['images']:,} images, on {found.archs} networks"
    )
