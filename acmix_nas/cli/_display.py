"""What is seen while a study runs: live on a terminal, one line for each trial in a pipe."""

import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress
from rich.table import Table

from acmix_nas.arch import Arch
from acmix_nas.cli._console import text_column
from acmix_nas.executors import WorkerProgress
from acmix_nas.front import front
from acmix_nas.metrics import COSTS, TOP1, Metric
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress as Training

ROWS = 5
"""Networks of the front that are shown."""


class StudyDisplay:
    """`Callbacks` that show trials, epoch, best, front and the time left.

    Args:
        console: Where to show it.
        name: Name of the study.
        total: Number of trials in all.
        records: Trials that ended before.
        measures: The metric and the costs that the study optimises.
    """

    def __init__(
        self,
        console: Console,
        name: str,
        total: int,
        records: list[TrialRecord],
        measures: Sequence[Metric] = (TOP1, COSTS["macs"]),
    ) -> None:
        self._console = console
        self._measures = measures
        self._metric = next(item for item in measures if item.name not in COSTS)
        self._costs = [item for item in measures if item.name in COSTS] or [COSTS["macs"]]
        self._name = name
        self._total = total
        self._records = list(records)
        self._paused: set[int] = set()
        self._labels: dict[int, str] = {}
        self._shown = 0
        self._begun = 0
        self._began = time.monotonic()
        columns = (
            text_column("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            text_column("{task.fields[note]}"),
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
        with suppress(OSError):  # a terminal that was closed takes no more; the study goes on to a clean stop
            self._console.print(text, soft_wrap=True)

    def begin(self, number: int, label: str, arch: Arch) -> None:
        """A trial begins."""
        self._labels[number], self._shown = f"trial {number}: {label}", number
        self._begun += number not in self._paused
        self._paused.discard(number)
        self._bars.reset(self._epochs, total=None, note=self._labels[number])

    def step(self, progress: Training) -> None:
        """An optimizer step was done."""
        label = self._labels.get(progress.number if isinstance(progress, WorkerProgress) else self._shown, "")
        epoch = f", epoch {min(len(progress.scores) + 1, progress.epochs)} of {progress.epochs}"
        last = f", {_score(self._metric, progress)}" if progress.scores else ""
        others = f" (and {len(self._labels) - 1} more)" if len(self._labels) > 1 else ""
        note = label + epoch + last + others
        self._bars.update(self._epochs, completed=progress.step, total=progress.steps, note=note)
        self._bars.update(self._trials, note=self._left())

    def pause(self, record: TrialRecord) -> None:
        """A trial reached a rung and waits there."""
        self._labels.pop(record.number, None)
        self._paused.add(record.number)
        self._update()
        reached = f"waits after epoch {len(record.scores)}  {_score(self._metric, record)}"
        self.note(f"trial {record.number}  {record.label}  {reached}")

    def end(self, record: TrialRecord) -> None:
        """A trial ended and is stored."""
        self._records.append(record)
        self._labels.pop(record.number, None)
        self._paused.discard(record.number)
        self._update()
        outcome = _outcome(self._metric, record)
        shared = "" if record.shared_with is None else f", shared with trial {record.shared_with}"
        costs = (f"{cost.title} {_amount(record, cost)}" for cost in self._costs)
        facts = (f"trial {record.number}", record.label, outcome, *costs)
        self.note("  ".join((*facts, f"{record.seconds:.1f} s{shared}")))

    def left_s(self) -> float | None:
        """Seconds that the trials still to come will take, from those begun; None while that is unknown."""
        begun = self._begun - len(self._labels) / 2
        coming = self._total - len(self._records) - len(self._paused) - len(self._labels) / 2
        spent_s = time.monotonic() - self._began
        return spent_s / begun * coming if self._begun and spent_s > 1 and coming > 0 else None

    def _left(self) -> str:
        seconds = self.left_s()
        if seconds is None:
            return ""
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"

    def _update(self) -> None:
        self._bars.update(self._trials, completed=len(self._records) + len(self._paused), note=self._left())

    def _render(self) -> Group:
        best = front(self._records, self._measures)
        metric = self._metric
        title = self._name + (f", best {_score(metric, best[0])} by trial {best[0].number}" if best else "")
        costs = (cost.title for cost in self._costs)
        table = Table("front", "label", metric.title, *costs, box=None, header_style="bold", title=title)
        table.title_justify = "left"
        for record in best[:ROWS]:
            amounts = (_amount(record, cost) for cost in self._costs)
            table.add_row(str(record.number), record.label, metric.stored_text(record.score or 0.0), *amounts)
        return Group(table, self._bars)


def _amount(record: TrialRecord, cost: Metric) -> str:
    value = getattr(record.cost, cost.name)
    if value is None:
        return "-"
    return f"{cost.shown(value):.3f}{cost.unit}" if cost.unit_size > 1 else f"{value:.1f} {cost.unit}"


def _outcome(metric: Metric, record: TrialRecord) -> str:
    if record.status == "pruned":
        return f"pruned after epoch {len(record.scores)}, {_score(metric, record)}"
    return _score(metric, record) if record.score is not None else f"failed: {record.error}"


def _score(metric: Metric, reached: TrialRecord | Training) -> str:
    return f"{metric.title} {metric.stored_text(reached.scores[-1])}"
