"""`acmix finalists`: the best of a search trained again, and what may be claimed of it."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmix_nas import plugins
from acmix_nas.cli._next_command import PLACES, command, storage_words, study_words, typed
from acmix_nas.cli._options import device_option, json_option, moved_data_option, out_option, plugin_option
from acmix_nas.cli._say import say
from acmix_nas.cli._workers import check_hidden, worker_options

if TYPE_CHECKING:
    from rich.console import Console

    from acmix_nas.executors import Executor
    from acmix_nas.experiments.setup import Prepared
    from acmix_nas.study.finals import Candidate
    from acmix_nas.study.stop import Stop
    from acmix_nas.study.study import Study

log = logging.getLogger(__name__)


ASKED = "finalists"
"""What a study keeps of how many networks and seeds were asked for."""
USUAL = 5


@click.command()
@click.argument("study_name", metavar="STUDY")
@click.option(
    "--top", type=click.IntRange(min=1), help="Networks of the front.  [default: 5, or what was asked for before]"
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    help="Fresh seeds of each network, in all.  [default: 5, or what was asked for before]",
)
@moved_data_option
@worker_options
@out_option
@device_option
@plugin_option
@json_option
def finalists(study_name: str, top: int | None, seeds: int | None, out: Path, as_json: bool, **options: Any) -> int:
    """Train the best of a search again: fresh seeds, its full budget, report images that it never read.

    STUDY is the name of a study in --out, or the path of its folder. The list is fixed beforehand: the --top best of
    the front, the plain host, the paper's ACmix, and the best of 10 random networks. Each is trained with the same
    fresh seeds; cells that are stored are not trained again. best.yaml and table.tex are then made from fresh scores.

    \b
    Examples:
      acmix finalists swin_t-001
      acmix finalists swin_t-001 --top 3 --seeds 10
    """
    from acmix_nas.cli._console import progress
    from acmix_nas.cli._decoding import decoding, image_remarks
    from acmix_nas.cli._study import FAILED_TRIALS, INTERRUPTED
    from acmix_nas.errors import StudyError
    from acmix_nas.executors import make_executor
    from acmix_nas.executors.placement import check_placement, chosen_device, place_workers, trial_limits
    from acmix_nas.experiments.finalists import choose
    from acmix_nas.experiments.setup import pick_device, prepare_again
    from acmix_nas.report import render
    from acmix_nas.report.fresh import stored_finals
    from acmix_nas.report.sampling import sampling_notes
    from acmix_nas.report.table import as_text
    from acmix_nas.study.finals import FINALS, fix_list, load_finals
    from acmix_nas.study.folder import find_folder
    from acmix_nas.study.stop import TIME_IS_UP, Stop
    from acmix_nas.study.study import Study

    check_hidden(options["executor"], options["storage"])
    check_placement(options["executor"], ray_address=options["ray_address"], gpus=options["gpus"])
    study = Study.open(find_folder(study_name, out), storage=options.pop("storage"))
    if study.header.kind != "search":
        raise StudyError(f"the study {study.header.name!r} is no search; only a search has finalists.")
    console, device = progress(), chosen_device(options.pop("device"), options["gpus"])
    options["limits"] = trial_limits(options.pop("trial_minutes"), options.pop("trial_memory"))
    address, hours, data = options.pop("ray_address"), options.pop("hours"), options.pop("data")
    name, places = place_workers(device=pick_device(device), **options)
    with decoding(console) as on_image:
        prepared = prepare_again(study, data=data, device=device, progress=on_image)
    stop = Stop(study.folder, hours=hours)
    with study.at_work():
        top, seeds = _asked(study, top, seeds)
        candidates = fix_list(study.folder, lambda: choose(study.header, study.records(), top=top), top=top)
        plugins.check_named((name for each in candidates for name in each.arch.named), study.folder)
        fresh = [study.header.seed + 1 + index for index in range(seeds)]
        splits = prepared.setting.splits
        sampling = sampling_notes(splits.to_dict()["counts"]["report"], "report")
        for line in (_announcement(study, candidates, fresh), *sampling, *image_remarks(splits)):
            log.info(line)
            console.print(line, soft_wrap=True)
        executor = make_executor(name, replace(prepared.work, limits=options["limits"]), places, address=address)
        _train(console, prepared, candidates, fresh, executor, stop)
        files = render(study.folder, study.header, study.records())
        trained = stored_finals(study.folder, study.header)
    table = as_text(trained.table) if trained else ""
    say(json.dumps(_as_json(study, table)) if as_json else table)
    written = ", ".join(sorted([FINALS, *(file.name for file in files)]))
    console.print(f"\nwritten to {study.folder}: {written}", soft_wrap=True)
    if stop.reason is not None:
        again = command("finalists", *study_words(study.folder), *typed(("data", "hours", *PLACES)), *storage_words())
        text = f"stopped ({stop.reason}); everything finished is kept. Go on with:\n  {again}"
        console.print(text, soft_wrap=True)
    if stop.reason not in (None, TIME_IS_UP):
        return INTERRUPTED
    return FAILED_TRIALS if any(record.status == "failed" for record in load_finals(study.folder)) else 0


def _asked(study: "Study", top: int | None, seeds: int | None) -> tuple[int, int]:
    """How many networks and seeds: what is asked for now, or was before; the study keeps it."""
    from acmix_nas.study.finals import listed_top

    before = study.kept(ASKED, {})
    top = top or before.get("top") or listed_top(study.folder) or USUAL
    seeds = seeds or before.get("seeds") or USUAL
    study.keep(ASKED, {"top": top, "seeds": seeds})
    return top, seeds


def _train(
    console: "Console",
    prepared: "Prepared",
    candidates: "list[Candidate]",
    seeds: list[int],
    executor: "Executor",
    stop: "Stop",
) -> None:
    from acmix_nas.cli._display import StudyDisplay
    from acmix_nas.experiments.finalists import train_finalists
    from acmix_nas.metrics import COSTS
    from acmix_nas.study.finals import load_finals, sort_fresh

    folder, header, setting = prepared.study.folder, prepared.study.header, prepared.setting
    fresh = sort_fresh(load_finals(folder), header.settings, seed=header.seed)
    ids = {(candidate.arch.id, seed) for candidate in candidates for seed in seeds}
    stored = [record for record in fresh.kept if (record.arch_id, record.seeds["init"]) in ids]
    shown = (header.metric, COSTS["macs"])
    with stop.hearing_signals(), StudyDisplay(console, "finalists", len(ids), stored, shown) as display:
        try:
            train_finalists(
                folder,
                candidates,
                setting,
                seeds=seeds,
                executor=executor,
                callbacks=display,
                stop=stop,
            )
        except KeyboardInterrupt:
            stop.reason = stop.reason or "interrupt"


def _announcement(study: "Study", candidates: "list[Candidate]", seeds: list[int]) -> str:
    named = "\n".join(f"  {candidate.name}: {candidate.arch.id}" for candidate in candidates)
    budget = study.header.setting("budget")
    return (
        f"finalists of {study.header.name}, fixed now; {len(candidates)} networks, seeds {seeds[0]} to {seeds[-1]}, "
        f"{budget['epochs']} epochs, scores on the report split:\n{named}"
    )


def _as_json(study: "Study", text: str) -> dict[str, Any]:
    from acmix_nas.study.finals import load_finals, load_list

    return {
        "study": study.header.to_dict(),
        "list": [candidate.to_dict() for candidate in load_list(study.folder)],
        "finals": [record.to_dict() for record in load_finals(study.folder)],
        "table": text,
    }
