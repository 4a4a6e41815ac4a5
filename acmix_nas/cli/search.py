"""`acmix search`: a study over a space, from the first trial to its report."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from acmix_nas.cli._next_command import PLACES, path_word, storage_words, typed
from acmix_nas.cli._options import command_line, plugin_option, study_options
from acmix_nas.cli._parse import parse_amount
from acmix_nas.cli._workers import check_hidden, worker_options

if TYPE_CHECKING:
    from rich.console import Console

    from acmix_nas.experiments.setup import Prepared
    from acmix_nas.search.plan import Plan
    from acmix_nas.space import Space, Values
    from acmix_nas.study.study import Study

TRIALS = 12
"""So many networks a search trains unless it is told otherwise."""
Command = TypeVar("Command", bound=Callable[..., Any])

_GOALS = [
    click.option(
        "--objectives",
        metavar="LIST",
        help="What is optimised, with commas between: top1, and of macs, macs_deploy, params, latency_ms, throughput "
        "those that matter.  [default: top1 and the space's cost]",
    ),
    click.option(
        "--max-macs", callback=parse_amount, metavar="N", help="Train no network with more multiply-adds, as 5G."
    ),
    click.option(
        "--max-params", callback=parse_amount, metavar="N", help="Train no network with more parameters, as 30M."
    ),
    click.option(
        "--max-latency-ms",
        callback=parse_amount,
        metavar="MS",
        help="Train no network that --latency-table says is slower.",
    ),
    click.option(
        "--latency-table",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Latency of the space's blocks, as `acmix profile --space SPACE --build-table FILE` measures it.",
    ),
    click.option(
        "--sampler",
        type=click.Choice(["hamming-gp", "random", "tpe", "nsga2"]),
        help="What proposes networks after the random ones.  [default: hamming-gp]",
    ),
    click.option(
        "--prune",
        type=click.Choice(["asha", "none"]),
        help="Whether trials are stopped early that others beat.  [default: asha from 3 epochs on]",
    ),
    click.option(
        "--warm-start",
        multiple=True,
        metavar="STUDY",
        help="Bring over what another study trained on the same images and budget. Repeatable.",
    ),
]


def _goal_options(command: Command) -> Command:
    for option in reversed(_GOALS):
        command = option(command)
    return command


@click.command()
@click.option(
    "--space", "space_name", required=True, metavar="NAME|FILE", help="A name of `acmix spaces`, or a YAML file."
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Networks to train; with --resume the total.  [default: 12; with --resume what was asked before]",
)
@click.option(
    "--first",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="best.yaml of another study, trained first. Repeatable.",
)
@_goal_options
@worker_options
@plugin_option
@study_options
def search(space_name: str, trials: int | None, first: tuple[Path, ...], as_json: bool, **options: Any) -> int:
    """Search a space: train shrunken networks and keep those that nothing beats in accuracy and cost.

    Costs are exact and known before training: a network beyond a limit is never trained. Ctrl-C stops after the
    running epoch, a second one at once; --resume finishes what was asked, as if it had never stopped.

    \b
    Examples:
      acmix search --space swin_t
      acmix search --space swin_t --objectives top1,params --max-macs 4G
      acmix search --space swin_t --data ~/imagenet --proxy gpu --trials 100 --hours 12
      acmix search --space swin_t --study demo --resume
      acmix search --space swin_t --study demo --resume --trials 24
      acmix search --space my_space.yaml --warm-start demo
    """
    from acmix_nas.space import load_space

    space = load_space(space_name)
    given = _given(space, first)

    # What follows loads torch, which takes seconds: a wrong file is told before.
    from acmix_nas.cli._console import progress
    from acmix_nas.cli._study import run_study
    from acmix_nas.executors import make_executor
    from acmix_nas.executors.placement import check_placement, chosen_device, place_workers, trial_limits
    from acmix_nas.experiments.setup import pick_device
    from acmix_nas.search.plan import prices_of
    from acmix_nas.search.run import search as run
    from acmix_nas.study.stop import Stop

    console = progress()
    options["device"] = chosen_device(options["device"], options["gpus"])
    who = {name: options.pop(name) for name in ("executor", "workers", "gpus", "workers_per_gpu", "gpus_per_trial")}
    hours, address, plan = options.pop("hours"), options.pop("ray_address"), _plan(space, options)
    check_hidden(who["executor"], options["storage"])
    check_placement(who["executor"], ray_address=address, gpus=who["gpus"])
    who["limits"] = trial_limits(options.pop("trial_minutes"), options.pop("trial_memory"))
    name, places = place_workers(device=pick_device(options["device"]), **who)
    prepared = _prepare(console, space, plan, options, goal={"trials": trials or TRIALS, "hours": hours}, given=given)
    study, setting = prepared.study, prepared.setting
    trials = trials or study.asked_trials or TRIALS
    hours = hours or study.asked.get("hours")
    executor = make_executor(name, replace(prepared.work, limits=who["limits"]), places, address=address)
    space, prices = replace(space, first=study.header.setting("first")), prices_of(study, space)
    stop = Stop(study.folder, hours=hours)
    with study.at_work():
        notes = _brought(prepared, space, options["out"], plan.warm_start, options["storage"])
        return run_study(
            study,
            setting,
            console,
            asked={"trials": trials, "hours": hours, "data": prepared.source},
            total=trials + study.brought,
            again=["search", "--space", path_word(space_name)],
            places=[*typed(PLACES), *storage_words()],
            more=["--trials", str(2 * trials)],
            as_json=as_json,
            run=lambda callbacks: run(
                study,
                space,
                setting,
                trials=trials,
                callbacks=callbacks,
                executor=executor,
                stop=stop,
                prices=prices,
            ),
            stop=stop,
            notes=[*_aims(prepared), _validity(prepared, space), *notes],
        )


def _plan(space: "Space", options: dict[str, Any]) -> "Plan":
    """What the options say of the search itself; they are taken out."""
    from acmix_nas.search.objectives import parse_objectives
    from acmix_nas.search.plan import Plan

    text, resume = options.pop("objectives"), options["resume"]
    limits = {name: options.pop(f"max_{name}") for name in ("macs", "params", "latency_ms")}
    plan = Plan(
        objectives=parse_objectives(text) if text else None if resume else ("top1", space.cost),
        limits={name: most for name, most in limits.items() if most is not None},
        prune=options.pop("prune"),
        sampler=options.pop("sampler"),
        table=options.pop("latency_table"),
        warm_start=options.pop("warm_start"),
    )
    if not resume:
        plan.check(space)
    return plan


def _prepare(
    console: "Console",
    space: "Space",
    plan: "Plan",
    options: dict[str, Any],
    *,
    goal: dict[str, Any],
    given: dict[str, Any],
) -> "Prepared":
    """The study, made or opened, and what its trials need."""
    from acmix_nas.cli._decoding import decoding
    from acmix_nas.experiments.setup import Asked, prepare
    from acmix_nas.study.storage import without_password

    first = {**given, **space.first}
    with decoding(console) as on_image:
        prepared = prepare(
            Asked(**options),
            space,
            kind="search",
            name=space.name,
            fixed={"space": _definition(space)},
            kept=lambda budget: {
                "random_starts": max(2, min(10, goal["trials"] // 4)),
                "first": first,
                "reference": plan.reference(space, first),
                **plan.kept(budget),
            },
            command=without_password(command_line()),
            objectives=plan.objectives or (),
            goal=goal,
            fill=plan.keep_table,
            progress=on_image,
        )
    if not prepared.is_new:
        plan.check_resumed(prepared.study.header)
    return prepared


def _brought(prepared: "Prepared", space: "Space", out: Path, names: tuple[str, ...], storage: str | None) -> list[str]:
    """Brings over what other studies trained, also what a kill kept from it before; returns what is said of it."""
    from acmix_nas.search.plan import prices_of
    from acmix_nas.search.warm import bring_over
    from acmix_nas.study.folder import find_folder
    from acmix_nas.study.study import load

    lines = []
    study, prices = prepared.study, prices_of(prepared.study, space)
    for name in dict.fromkeys([*_left_to_bring(study, out), *names]):
        header, records = load(find_folder(name, out), storage=storage)
        brought = bring_over(study, space, prepared.setting, prices, header=header, records=records)
        lines.append(str(brought))
    return lines


def _left_to_bring(study: "Study", out: Path) -> list[str]:
    """Studies in the same folder that a search was to begin with, where it has no trial of its own yet."""
    from acmix_nas.study.folder import has_study

    if len(study.trials()) > study.brought:
        return []
    names = (str(name) for name in study.header.settings.get("warm_start", []))
    return [name for name in names if Path(name).name == name and has_study(out / name)]


def _aims(prepared: "Prepared") -> list[str]:
    """What is optimised, limited and pruned, in a line."""
    from acmix_nas.search.objectives import amount

    header = prepared.study.header
    settings = header.settings
    sampler = f"sampler {settings.get('sampler', 'hamming-gp')}"
    limits = [f"{name} at most {amount(most)}" for name, most in settings.get("limits", {}).items()]
    pruned = ["trials are pruned (asha)"] if settings.get("prune") == "asha" else []
    table = settings.get("latency_table")
    timed = [f"latency from a table of {table['device_name']}"] if table else []
    return [", ".join([f"objectives: {' and '.join(header.objectives)}", *limits, *timed, sampler, *pruned])]


def _validity(prepared: "Prepared", space: "Space") -> str:
    """How well the proxy ranks networks, as far as `acmix data fidelity` measured it, in a line."""
    from acmix_nas.experiments.fidelity import find_fidelity

    setting = prepared.setting
    found = find_fidelity(prepared.study.folder.parent, space, setting.proxy, setting.splits)
    if found is None:
        return "proxy unvalidated: `acmix data fidelity` measures whether it ranks networks as longer training does"
    rank = found.agreements["proxy"].spearman
    return (
        f"proxy: rank correlation {rank.value:.2f} [{rank.low:.2f}, {rank.high:.2f}] with "
        f"{found.large['epochs']} epochs of {found.large['images']:,} images, on {found.archs} networks"
    )


def _given(space: "Space", files: tuple[Path, ...]) -> dict[str, "Values"]:
    """Values of the networks that the user wants tried first."""
    from acmix_nas.space.arch_file import load_arch

    return {f"given: {file.parent.name or file.stem}": space.values(load_arch(file)) for file in files}


def _definition(space: "Space") -> dict[str, Any]:
    """What decides the networks of a space: a study cannot go on with another."""
    return {
        "host": space.host,
        "widths": list(space.widths),
        "depths": list(space.depths),
        "input_size": space.input_size,
        "conv_on": space.conv_on,
        "fixed": [dict(fields) for fields in space.fixed],
        "choices": {choice.name: asdict(choice) for choice in space.choices},
    }
