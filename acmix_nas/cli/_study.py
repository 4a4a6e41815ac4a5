"""What search and ablate do alike: announce, run, and whatever happened render what is stored."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from acmix_nas.cli._console import text_column
from acmix_nas.cli._decoding import image_remarks
from acmix_nas.cli._display import StudyDisplay
from acmix_nas.cli._next_command import command, out_words, path_word, storage_words, study_words
from acmix_nas.cli._say import say
from acmix_nas.cli.follow import Follower
from acmix_nas.cli.report import print_table
from acmix_nas.errors import AcmixError, DiskError
from acmix_nas.executors.callbacks import Callbacks
from acmix_nas.front import front
from acmix_nas.record import TrialRecord
from acmix_nas.report import View, render
from acmix_nas.report.sampling import sampling_notes
from acmix_nas.report.trials import pruning_text
from acmix_nas.sizes import size_text
from acmix_nas.study.stop import TIME_IS_UP, Stop
from acmix_nas.study.study import Study
from acmix_nas.train import Progress as Training
from acmix_nas.train import Setting

log = logging.getLogger(__name__)

FAILED_TRIALS = 3
INTERRUPTED = 130


@contextmanager
def stepping(console: Console, what: str) -> Iterator[Callable[[Training], None]]:
    """A progress bar for the optimizer steps of one training."""
    bar = Progress(
        text_column("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task(what, total=None)
    with bar:
        yield lambda training: bar.update(task, completed=training.step, total=training.steps)


def run_study(
    study: Study,
    setting: Setting,
    console: Console,
    *,
    asked: Mapping[str, Any],
    total: int,
    again: Sequence[str],
    places: Sequence[str],
    more: Sequence[str],
    as_json: bool,
    run: Callable[[Callbacks], object],
    view: View | None = None,
    stop: Stop | None = None,
    notes: Sequence[str] = (),
) -> int:
    """Runs a study and renders its report, also after an interrupt.

    Args:
        study: The study.
        setting: What its trials hold fixed.
        console: Where progress is shown.
        asked: What is asked for, as {"trials": 12}: a study keeps it, and is resumed to it.
        total: Number of trials that it should have.
        again: Words of the command that goes on with it, without its name.
        places: Options of that command that the study does not keep: where it trains, what is shown.
        more: Options that let it grow.
        as_json: Whether the results are one JSON object.
        run: Runs the trials, calling the callbacks.
        view: How the table is shown.
        stop: What `run` asks whether to stop; without it the callbacks interrupt `run` after an epoch.
        notes: Further lines of the announcement.

    Returns:
        The exit code: 0 done, 3 done with failed trials, 130 interrupted.
    """
    with study.at_work():
        study.render_lines()
        study.ask(**asked)
        study.keep("goal", total)
        _announce(study, setting, console, notes)
        stopped = _run(study, console, total, run, stop, view)
        records = study.records()
        code = INTERRUPTED if stopped not in (None, TIME_IS_UP) else 0
        if not code and any(record.status == "failed" for record in records):
            code = FAILED_TRIALS
        files = _render(study, records, view)
        log.info("%d trials stored, report rendered", len(records))
    _show_results(study, records, view or View(), as_json=as_json)
    failed = [record for record in records if record.status == "failed"]
    lines = [f"{len(failed)} of {len(records)} trials failed; the first: {failed[0].error}"] if failed else []
    lines += ["", f"written to {study.folder}: {', '.join(sorted(file.name for file in files))}"]
    lines += pruning_text(records)
    for line in [*lines, *_next_commands(study, again, places, more, stopped)]:
        console.print(line, soft_wrap=True)
    return code


def _render(study: Study, records: list[TrialRecord], view: View | None) -> list[Path]:
    try:
        return render(study.folder, study.header, records, view)
    except (AcmixError, OSError) as error:
        raise DiskError(
            f"{error} All {len(records)} trials are stored; `{command('report', *study_words(study.folder))}` writes "
            "the report."
        ) from error


def _run(
    study: Study,
    console: Console,
    total: int,
    run: Callable[[Callbacks], object],
    asked: Stop | None,
    view: View | None,
) -> str | None:
    """Runs the trials; returns why they stopped before they were done."""
    stop = asked or Stop(study.folder)
    with (
        stop.hearing_signals(),
        StudyDisplay(console, study.header.name, total, study.records(), study.header.measures) as display,
    ):
        follower = Follower(display, study, stop, interrupts=asked is None, view=view)
        try:
            run(follower)
        except KeyboardInterrupt:
            stop.reason = stop.reason or "interrupt"
        finally:
            follower.leave()
    if stop.reason:
        log.info("stopped: %s", stop.reason)
    return stop.reason


def _announce(study: Study, setting: Setting, console: Console, notes: Sequence[str]) -> None:
    header, splits, budget, proxy = study.header, setting.splits, setting.budget, setting.proxy
    classes = f"{len(splits.classes)} classes, {budget.images:,} training images"
    lines = [
        f"study {header.name}: {header.kind} {header.space}, seed {header.seed}, in {study.folder}",
        f"data: {splits.name}, {classes}, scores on the {header.split} split",
        f"proxy: {proxy.name}, {size_text(proxy.input_size)} px, width {proxy.width:g}, epochs {budget.epochs}, "
        f"{budget.precision} on {setting.device}",
        *notes,
        *sampling_notes(splits.to_dict()["counts"][header.split], header.split),
    ]
    if splits.embedded:
        lines.append("These images are Fashion-MNIST, not ImageNet: they show that things work, not what is best.")
    for line in lines + image_remarks(splits):
        log.info(line)
        console.print(line, soft_wrap=True)


def _show_results(study: Study, records: list[TrialRecord], view: View, *, as_json: bool) -> None:
    header = study.header
    if as_json:
        best = [record.number for record in front(records, header.measures)]
        trials = [record.to_dict() for record in records]
        facts = {"study": header.to_dict(), "folder": str(study.folder), "front": best, "trials": trials}
        say(json.dumps(facts))
    else:
        print_table(header, records, view)


def _next_commands(
    study: Study, again: Sequence[str], places: Sequence[str], more: Sequence[str], stopped: str | None
) -> list[str]:
    name, out = study.folder.name, study.folder.parent
    resume = [*again, "--study", name, *out_words(out), "--resume", *places]
    if stopped:
        return [f"stopped ({stopped}); everything finished is kept. Go on with:", f"  {command(*resume)}"]
    lines = ["next:", f"  {command('report', *study_words(study.folder), *storage_words())}"]
    if (study.folder / "best.yaml").is_file():
        lines.append(f"  {command('profile', path_word(study.folder / 'best.yaml'), '--impl', 'all')}")
    return [*lines, f"  {command(*resume, *more)}"]
