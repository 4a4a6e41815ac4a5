"""What search and ablate do alike: announce, run, and whatever happened render what is stored."""

import json
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from acmix_nas.cli.decoding import decoding as decoding
from acmix_nas.cli.display import StudyDisplay
from acmix_nas.cli.report import print_table
from acmix_nas.record import TrialRecord
from acmix_nas.report import View, front, render
from acmix_nas.search.run import Watcher
from acmix_nas.search.study import Study, at_work
from acmix_nas.train import Progress as Training
from acmix_nas.train import Setting

log = logging.getLogger(__name__)

FAILED_TRIALS = 3
INTERRUPTED = 130


@contextmanager
def stepping(console: Console, what: str) -> Iterator[Callable[[Training], None]]:
    """A progress bar for the optimizer steps of one training."""
    bar = Progress(
        TextColumn("{task.description}"),
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
    total: int,
    again: str,
    more: str,
    as_json: bool,
    run: Callable[[Watcher], object],
    view: View | None = None,
) -> int:
    """Runs a study and renders its report, also after an interrupt.

    Args:
        study: The study.
        setting: What its trials hold fixed.
        console: Where progress is shown.
        total: Number of trials that it should have.
        again: The command that goes on with it, without its name.
        more: Options that let it grow.
        as_json: Whether the results are one JSON object.
        run: Runs the trials, telling the watcher.
        view: How the table is shown.

    Returns:
        The exit code: 0 done, 3 done with failed trials, 130 interrupted.
    """
    with at_work(study.folder), _terminated_as_interrupted():
        study.render_lines()
        _announce(study, setting, console)
        code = 0
        with StudyDisplay(console, study.header.name, total, study.records()) as display:
            try:
                run(display)
            except KeyboardInterrupt:
                log.info("interrupted")
                code = INTERRUPTED
        records = study.records()
        if not code and any(record.status == "failed" for record in records):
            code = FAILED_TRIALS
        files = render(study.folder, study.header, records, view)
        log.info("%d trials stored, report rendered", len(records))
    _show_results(study, records, view or View(), as_json=as_json)
    failed = [record for record in records if record.status == "failed"]
    lines = [f"{len(failed)} of {len(records)} trials failed; the first: {failed[0].error}"] if failed else []
    lines += ["", f"written to {study.folder}: {', '.join(sorted(file.name for file in files))}"]
    for line in [*lines, *_next_commands(study, again, more, interrupted=code == INTERRUPTED)]:
        console.print(line, markup=False, soft_wrap=True)
    return code


def _announce(study: Study, setting: Setting, console: Console) -> None:
    header, splits, budget, proxy = study.header, setting.splits, setting.budget, setting.proxy
    classes = f"{len(splits.classes)} classes, {budget.images:,} training images"
    lines = [
        f"study {header.name}: {header.kind} {header.space}, seed {header.seed}, in {study.folder}",
        f"data: {splits.name}, {classes}, scores on the {header.split} split",
        f"proxy: {proxy.name}, {proxy.input_size} px, width {proxy.width:g}, epochs {budget.epochs}, "
        f"{budget.precision} on {setting.device}",
    ]
    if splits.embedded:
        lines.append("These images are Fashion-MNIST, not ImageNet: they show that things work, not what is best.")
    lines += [f"Note: {note}." for note in splits.notes]
    if splits.skipped:
        lines.append(f"{len(splits.skipped)} images cannot be decoded and are left out; log.txt names them.")
    for path, reason in splits.skipped:
        log.warning("left out %s: %s", path, reason)
    for line in lines:
        log.info(line)
        console.print(line, markup=False, soft_wrap=True)


def _show_results(study: Study, records: list[TrialRecord], view: View, *, as_json: bool) -> None:
    header = study.header
    if as_json:
        best = [record.number for record in front(records)]
        trials = [record.to_dict() for record in records]
        facts = {"study": header.to_dict(), "folder": str(study.folder), "front": best, "trials": trials}
        click.echo(json.dumps(facts))
    else:
        print_table(header, records, view)


def _next_commands(study: Study, again: str, more: str, *, interrupted: bool) -> list[str]:
    name, out = study.header.name, study.folder.parent
    where = "" if out == Path("reports") else f" --out {out}"
    resume = f"  {again} --study {name}{where} --resume"
    if interrupted:
        return ["interrupted; everything finished is kept. Go on with:", resume]
    commands = ["next:", f"  acmix report {name}{where}"]
    if (study.folder / "best.yaml").is_file():
        commands.append(f"  acmix profile {study.folder / 'best.yaml'} --impl all")
    return [*commands, f"{resume} {more}"]


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A SIGTERM, as batch systems send it, ends a study as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
