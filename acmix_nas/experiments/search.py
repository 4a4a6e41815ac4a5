"""A search from what was asked to its report."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from acmix_nas import __version__
from acmix_nas.executors.callbacks import ExperimentCallbacks
from acmix_nas.experiments.fidelity import find_fidelity
from acmix_nas.experiments.options import StudyOptions, WorkerOptions
from acmix_nas.experiments.running import StudyResult, run_study
from acmix_nas.experiments.setup import (
    check_resumed,
    find_study,
    load_work,
    metric_of,
    settings_of,
    workers_of,
)
from acmix_nas.record import StudyHeader
from acmix_nas.search.objectives import Prices, amount, parse_objectives
from acmix_nas.search.plan import Plan, prices_of
from acmix_nas.search.run import search
from acmix_nas.search.warm import bring_over
from acmix_nas.space import Space, Values, load_space
from acmix_nas.space.arch_file import load_arch
from acmix_nas.space.stored import definition
from acmix_nas.study.folder import find_folder, has_study, next_name
from acmix_nas.study.stop import Stop
from acmix_nas.study.study import Study, load
from acmix_nas.tasks import DEFAULT
from acmix_nas.train import Setting

TRIALS = 12
"""Networks that a search trains by default."""


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
        warm_start: Studies whose trials are brought over.
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
    warm_start: tuple[str, ...] = ()

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
    """
    callbacks = callbacks or ExperimentCallbacks()
    space = load_space(options.space)
    given = {f"given: {file.parent.name or file.stem}": space.values(load_arch(file)) for file in options.first}
    device, make_executor = workers_of(options, options.device)
    study, options = find_study(options, space.name)
    plan = _plan(options, space)
    header = study.header if study else None
    work, setting = load_work(options, space, split="search", device=device, like=header, progress=callbacks.decode)
    if study is None:
        study = _create(options, space, plan, setting, given)
    else:
        check_resumed(study.header, setting, space=definition(space))
        plan.check_resumed(study.header)
    trials = options.trials or study.asked_trials or TRIALS
    hours = options.hours or study.asked.get("hours")
    space, prices = replace(space, first=study.header.setting("first")), prices_of(study, space)
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
                executor=make_executor(work),
                stop=stop,
                prices=prices,
            ),
            stop=stop,
            notes=[_aims(study.header), _validity(study, space, setting), *brought],
        )


def _plan(options: SearchOptions, space: Space) -> Plan:
    """How the search goes about it, checked where the study is a new one."""
    metric = metric_of(options)
    usual = None if options.resume else (metric.name, space.cost)
    plan = Plan(
        metric=metric,
        objectives=parse_objectives(options.objectives, metric) if options.objectives else usual,
        limits=options.limits,
        prune=options.prune,
        sampler=options.sampler,
        table=options.latency_table,
        warm_start=options.warm_start,
    )
    if not options.resume:
        plan.check(space)
    return plan


def _create(options: SearchOptions, space: Space, plan: Plan, setting: Setting, given: Mapping[str, Values]) -> Study:
    """A new study."""
    trials, first = options.trials or TRIALS, {**given, **space.first}
    settings = {
        **settings_of(setting),
        "space": definition(space),
        "random_starts": max(2, min(10, trials // 4)),
        "first": first,
        "reference": plan.reference(space, first),
        **plan.kept(setting.budget),
        "asked": {**options.remembered(), "trials": trials, "hours": options.hours},
    }
    header = StudyHeader(
        name=options.study or next_name(options.out, space.name),
        kind="search",
        space=space.name,
        host=space.host,
        split=setting.split,
        metric=plan.metric,
        objectives=plan.objectives or (),
        seed=options.seed or 0,
        command=options.command,
        version=__version__,
        settings=settings,
    )
    return Study.create(options.out, header, storage=options.storage, fill=plan.keep_table)


def _bring(study: Study, space: Space, setting: Setting, prices: Prices, options: SearchOptions) -> list[str]:
    """Brings over what other studies trained, also what a kill kept from it before; returns what is said of it."""
    lines = []
    for name in dict.fromkeys([*_left_to_bring(study, options.out), *options.warm_start]):
        header, records = load(find_folder(name, options.out), storage=options.storage)
        lines.append(str(bring_over(study, space, setting, prices, header=header, records=records)))
    return lines


def _left_to_bring(study: Study, out: Path) -> list[str]:
    """Studies in the same folder that a search was to begin with, where it has no trial of its own yet."""
    if len(study.trials()) > study.brought:
        return []
    names = (str(name) for name in study.header.settings.get("warm_start", []))
    return [name for name in names if Path(name).name == name and has_study(out / name)]


def _aims(header: StudyHeader) -> str:
    """What is optimised, limited and pruned, in a line."""
    settings = header.settings
    limits = [f"{name} at most {amount(most)}" for name, most in settings.get("limits", {}).items()]
    table = settings.get("latency_table")
    timed = [f"latency from a table of {table['device_name']}"] if table else []
    sampler = f"sampler {settings.get('sampler', 'hamming-gp')}"
    pruned = ["trials are pruned (asha)"] if settings.get("prune") == "asha" else []
    return ", ".join([f"objectives: {' and '.join(header.objectives)}", *limits, *timed, sampler, *pruned])


def _validity(study: Study, space: Space, setting: Setting) -> str:
    """How well the proxy ranks networks, as far as `acmix data fidelity` measured it, in a line."""
    asked = (setting.task, setting.metric)  # fidelity is measured in the default task's first metric
    found = None
    if asked == (DEFAULT, None):
        found = find_fidelity(study.folder.parent, space, setting.proxy, setting.splits)
    if found is None:
        return "proxy unvalidated: `acmix data fidelity` measures whether it ranks networks as longer training does"
    rank = found.agreements["proxy"].spearman
    return (
        f"proxy: rank correlation {rank.value:.2f} [{rank.low:.2f}, {rank.high:.2f}] with "
        f"{found.large['epochs']} epochs of {found.large['images']:,} images, on {found.archs} networks"
    )
