"""What is seen while a study runs: live on a terminal, one line for each trial in a pipe."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from acmix_nas.arch import Arch
from acmix_nas.record import TrialRecord
from acmix_nas.report import front
from acmix_nas.train import Progress as Training

SHOWN = 5


class StudyDisplay:
    """A `Watcher` that shows trials, epoch, best, front and the time left.

    Args:
        console: Where to show it.
        name: Name of the study.
        total: Number of trials in all.
        records: Trials that ended before.
    """

    def __init__(self, console: Console, name: str, total: int, records: list[TrialRecord]) -> None:
        self._console = console
        self._name = name
        self._total = total
        self._records = list(records)
        self._spent: list[float] = []
        self._label = ""
        self._began = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bars = Progress(*columns, console=console)
        self._trials = self._bars.add_task("trials", total=total, completed=len(records), note="")
        self._epochs = self._bars.add_task("step", total=None, note="")
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def note(self, text: str) -> None:
        """Something beside the trials is done now."""
        self._console.print(text, markup=False, soft_wrap=True)

    def begin(self, number: int, label: str, arch: Arch) -> None:
        """A trial begins."""
        self._label, self._began = f"trial {number}: {label}", time.monotonic()
        self._bars.reset(self._epochs, total=None, note=self._label)

    def step(self, progress: Training) -> None:
        """An optimizer step was done."""
        epoch = f", epoch {min(len(progress.scores) + 1, progress.epochs)} of {progress.epochs}"
        last = f", top-1 {progress.scores[-1]:.4f}" if progress.scores else ""
        note = self._label + epoch + last
        self._bars.update(self._epochs, completed=progress.step, total=progress.steps, note=note)
        self._bars.update(self._trials, note=self._left(progress.step / progress.steps))

    def end(self, record: TrialRecord) -> None:
        """A trial ended and is stored."""
        self._records.append(record)
        if record.shared_with is None:
            self._spent.append(time.monotonic() - self._began)
        self._bars.update(self._trials, completed=len(self._records), note=self._left(0))
        outcome = f"top-1 {record.top1:.4f}" if record.top1 is not None else f"failed: {record.error}"
        shared = "" if record.shared_with is None else f", shared with trial {record.shared_with}"
        facts = (f"trial {record.number}", record.label, outcome, f"MACs {record.cost.macs / 1e9:.3f}G")
        line = "  ".join((*facts, f"{record.seconds:.1f} s{shared}"))
        self._console.print(line, markup=False, soft_wrap=True)

    def _left(self, done: float) -> str:
        trials = self._total - len(self._records) - done
        if not self._spent:
            seconds = (time.monotonic() - self._began) / done * trials if done > 0.05 else None
        else:
            seconds = sum(self._spent) / len(self._spent) * trials
        if seconds is None or trials <= 0:
            return ""
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"

    def _render(self) -> Group:
        best = front(self._records)
        title = self._name + (f", best top-1 {best[0].top1:.4f} by trial {best[0].number}" if best else "")
        table = Table("front", "label", "top-1", "MACs (G)", box=None, header_style="bold", title=title)
        table.title_justify = "left"
        for record in best[:SHOWN]:
            table.add_row(str(record.number), record.label, f"{record.top1:.4f}", f"{record.cost.macs / 1e9:.3f}")
        return Group(table, self._bars)
