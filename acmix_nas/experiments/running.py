"""What search and ablation do alike: announce a study, run it, and whatever happened render what is stored."""

import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acmix_nas.errors import AcmixError, DiskError
from acmix_nas.executors.callbacks import Callbacks, ExperimentCallbacks
from acmix_nas.experiments.monitor import Monitor, TimeLeft
from acmix_nas.experiments.setup import announce
from acmix_nas.metrics import Metric
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import View, render
from acmix_nas.report.sampling import sampling_notes
from acmix_nas.sizes import size_text
from acmix_nas.study.stop import TIME_IS_UP, Stop
from acmix_nas.study.study import Study
from acmix_nas.train import Setting

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """What a study has once it ran.

    Attributes:
        study: The study.
        records: All trials that ended, by number.
        files: Files of its report.
        stopped: Why it stopped before it had all its trials; None if it has them.
    """

    study: Study
    records: Sequence[TrialRecord]
    files: Sequence[Path]
    stopped: str | None = None

    @property
    def header(self) -> StudyHeader:
        """What holds for all trials."""
        return self.study.header

    @property
    def folder(self) -> Path:
        """The folder of the study."""
        return self.study.folder

    @property
    def failed(self) -> list[TrialRecord]:
        """Trials that failed."""
        return [record for record in self.records if record.status == "failed"]

    @property
    def interrupted(self) -> bool:
        """Whether someone stopped it before its time."""
        return self.stopped not in (None, TIME_IS_UP)


def run_study(
    study: Study,
    setting: Setting,
    callbacks: ExperimentCallbacks,
    *,
    asked: Mapping[str, Any],
    total: int,
    run: Callable[[Callbacks], object],
    stop: Stop,
    view: View | None = None,
    notes: Sequence[str] = (),
) -> StudyResult:
    """Runs a study that this process holds (`Study.at_work`) and renders its report, also after an interrupt.

    Args:
        study: The study.
        setting: What its trials hold fixed.
        callbacks: What the caller is shown.
        asked: What is asked for, as {"trials": 12}: a study keeps it, and is resumed to it.
        total: Number of trials that it should have.
        run: Runs the trials, calling the callbacks.
        stop: What `run` asks whether to stop.
        view: How the table of the report is shown.
        notes: Further lines of the announcement.

    Raises:
        DiskError: The report cannot be written; all trials are stored.
    """
    study.render_lines()
    study.ask(**asked)
    study.keep("goal", total)
    announce(_announcement(study, setting, notes), setting.splits, callbacks.note)
    before = study.records()
    monitor = Monitor(callbacks, study, stop, TimeLeft(total, len(before)), view)
    with under_way(callbacks, stop, study.header.name, study.header.measures, total, before):
        try:
            run(monitor)
        finally:
            monitor.leave()
    if stop.reason:
        log.info("stopped: %s", stop.reason)
    records = study.records()
    files = render_stored(study, records, view)
    log.info("%d trials stored, report rendered", len(records))
    return StudyResult(study=study, records=records, files=files, stopped=stop.reason)


def render_stored(study: Study, records: Sequence[TrialRecord], view: View | None) -> list[Path]:
    """Renders the report of a study whose trials are stored.

    Raises:
        DiskError: It cannot be written; the message names the command that writes it.
    """
    try:
        return render(study.folder, study.header, records, view)
    except (AcmixError, OSError) as error:
        raise DiskError(
            f"{error} All {len(records)} trials are stored; `acmix report {shlex.quote(str(study.folder))}` writes the "
            "report."
        ) from error


@contextmanager
def under_way(
    callbacks: ExperimentCallbacks,
    stop: Stop,
    name: str,
    measures: Sequence[Metric],
    total: int,
    records: Sequence[TrialRecord],
) -> Iterator[None]:
    """A block in which trials run: signals ask to stop, and a second one ends it."""
    with stop.hearing_signals():
        callbacks.start(name, measures, total, records)
        try:
            yield
        except KeyboardInterrupt:
            stop.reason = stop.reason or "interrupt"
        finally:
            callbacks.finish()


def _announcement(study: Study, setting: Setting, notes: Sequence[str]) -> list[str]:
    """What is trained, on what, and how far the scores can be trusted."""
    header, splits, budget, proxy = study.header, setting.splits, setting.budget, setting.proxy
    what = "Fashion-MNIST, not ImageNet" if setting.head_facts is None else "composed scenes, not photographs"
    embedded = f"These images are {what}: the results show that everything works, not which network is best."
    return [
        f"study {header.name}: {header.kind} {header.space}, seed {header.seed}, in {study.folder}",
        f"data: {splits.name}, {len(splits.classes)} classes, {budget.images:,} training images, scores on the "
        f"{header.split} split",
        f"proxy: {proxy.name}, {size_text(proxy.input_size)} px, width {proxy.width:g}, epochs {budget.epochs}, "
        f"{budget.precision} on {setting.device}",
        *notes,
        *sampling_notes(splits.to_dict()["counts"][header.split], header.split, header.metric),
        *([embedded] if splits.embedded else []),
    ]
