"""What is seen while something trains: live on a terminal, a line for each trial or epoch in a pipe."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskID, TimeRemainingColumn

from acmix_nas.arch import Arch
from acmix_nas.cli._console import DecodingBar, plain_table, progress, text_column
from acmix_nas.cli._say import time_text
from acmix_nas.executors.callbacks import ExperimentCallbacks
from acmix_nas.experiments.fidelity import FidelityCallbacks
from acmix_nas.experiments.monitor import TimeLeft
from acmix_nas.experiments.training import TrainingCallbacks, epoch_line
from acmix_nas.front import front
from acmix_nas.metrics import COSTS, TOP1, Metric
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress as Training

MEMORY_S = 600.0
"""The time that is left is estimated from the speed of this many last seconds."""
ROWS = 5
"""Networks of the front that are shown."""


class _Display:
    """A console, and the bar of images that are decoded. A context: when it is left nothing moves any more."""

    def __init__(self, *columns: ProgressColumn, console: Console | None = None, **bar: Any) -> None:
        self._console = console or progress()
        self._decoding = DecodingBar(self._console)
        self._bar = Progress(text_column("{task.description}"), BarColumn(), *columns, console=self._console, **bar)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._decoding.stop()
        self.finish()

    def finish(self) -> None:
        """Nothing trains any more."""
        self._bar.stop()

    def decode(self, done: int, total: int) -> None:
        """Shows how many images are decoded, and of how many."""
        self._decoding(done, total)

    def note(self, text: str) -> None:
        """A line about what is done."""
        self._console.print(text, soft_wrap=True)


class StudyDisplay(_Display, ExperimentCallbacks):
    """Shows trials, epoch, best, front and the time left.

    Args:
        console: Where to show it; stderr by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(MofNCompleteColumn(), text_column("{task.fields[note]}"), console=console)
        self._name = ""
        self._measures: Sequence[Metric] = (TOP1, COSTS["macs"])
        self._metric = TOP1
        self._costs = [COSTS["macs"]]
        self._records: list[TrialRecord] = []
        self._labels: dict[int, str] = {}
        self._left = TimeLeft(0)
        self._trials = self._bar.add_task("trials", total=None, note="")
        self._epochs = self._bar.add_task("step", total=None, note="")
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True)

    def start(self, name: str, measures: Sequence[Metric], total: int, records: Sequence[TrialRecord]) -> None:
        """The trials begin."""
        self._decoding.stop()
        self._name, self._measures, self._records = name, measures, list(records)
        self._metric = next(item for item in measures if item.name not in COSTS)
        self._costs = [item for item in measures if item.name in COSTS] or [COSTS["macs"]]
        self._left = TimeLeft(total, len(records))
        self._bar.update(self._trials, total=total, completed=len(records))
        if self._console.is_terminal:
            self._live.start()

    def finish(self) -> None:
        """No trial runs any more."""
        self._live.stop()

    def note(self, text: str) -> None:
        """A line about the study, or about what is done beside the trials."""
        with suppress(OSError):  # a terminal that was closed takes no more; the study goes on to a clean stop
            super().note(text)

    def begin(self, number: int, label: str, arch: Arch) -> None:
        """A trial begins, or goes on."""
        self._labels[number] = f"trial {number}: {label}"
        self._left.begin(number)
        self._bar.reset(self._epochs, total=None, note=self._labels[number])

    def step(self, number: int, progress: Training) -> None:
        """A trial did an optimizer step."""
        label = self._labels.get(number, "")
        epoch = f", epoch {min(len(progress.scores) + 1, progress.epochs)} of {progress.epochs}"
        last = f", {_score(self._metric, progress)}" if progress.scores else ""
        others = f" (and {len(self._labels) - 1} more)" if len(self._labels) > 1 else ""
        note = label + epoch + last + others
        self._bar.update(self._epochs, completed=progress.step, total=progress.steps, note=note)
        self._bar.update(self._trials, note=self._time_left())

    def pause(self, record: TrialRecord) -> None:
        """A trial reached a rung and waits there."""
        self._labels.pop(record.number, None)
        self._left.pause(record.number)
        self._update()
        reached = f"waits after epoch {len(record.scores)}  {_score(self._metric, record)}"
        self.note(f"trial {record.number}  {record.label}  {reached}")

    def end(self, record: TrialRecord) -> None:
        """A trial ended and is stored."""
        self._records.append(record)
        self._labels.pop(record.number, None)
        self._left.end(record.number)
        self._update()
        outcome = _outcome(self._metric, record)
        shared = "" if record.shared_with is None else f", shared with trial {record.shared_with}"
        costs = (f"{cost.title} {_amount(record, cost)}" for cost in self._costs)
        facts = (f"trial {record.number}", record.label, outcome, *costs)
        self.note("  ".join((*facts, f"{record.seconds:.1f} s{shared}")))

    def _time_left(self) -> str:
        seconds = self._left.seconds()
        return "" if seconds is None else f"{time_text(seconds)} left"

    def _update(self) -> None:
        self._bar.update(self._trials, completed=self._left.reached, note=self._time_left())

    def _render(self) -> Group:
        best = front(self._records, self._measures)
        metric = self._metric
        title = self._name + (f", best {_score(metric, best[0])} by trial {best[0].number}" if best else "")
        costs = (cost.title for cost in self._costs)
        table = plain_table("front", "label", metric.title, *costs, title=title)
        table.title_justify = "left"
        for record in best[:ROWS]:
            amounts = (_amount(record, cost) for cost in self._costs)
            table.add_row(str(record.number), record.label, metric.stored_text(record.score or 0.0), *amounts)
        return Group(table, self._bar)


class TrainingDisplay(_Display, TrainingCallbacks):
    """Shows a training: a bar with the time left on a terminal, a line for each epoch everywhere."""

    def __init__(self) -> None:
        console = progress()
        super().__init__(
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=MEMORY_S,
        )
        self._metric = TOP1
        self._steps = self._bar.add_task("steps", total=None, visible=False)

    def note(self, text: str) -> None:
        """A line about the training."""
        self._decoding.stop()
        super().note(text)

    def start(self, metric: Metric) -> None:
        """The network is there, and what it is scored by."""
        self._decoding.stop()
        self._metric = metric

    def step(self, progress: Training) -> None:
        """An optimizer step was done."""
        last = f", {_score(self._metric, progress)}" if progress.scores else ""
        epoch = f"epoch {min(len(progress.scores) + 1, progress.epochs)} of {progress.epochs}{last}, steps"
        self._bar.start()
        self._bar.update(self._steps, completed=progress.step, total=progress.steps, description=epoch, visible=True)

    def epoch(self, progress: Training) -> None:
        """An epoch was scored and saved."""
        self.note(epoch_line(self._metric, progress))


SCORING = -1
"""The bar of zero-cost scores, among those of trainings."""


class FidelityDisplay(_Display, FidelityCallbacks):
    """A bar for each training under way, with the time left."""

    def __init__(self) -> None:
        super().__init__(TimeRemainingColumn(), transient=True)
        self._tasks: dict[int, TaskID] = {}

    def begin(self, number: int, count: int, name: str) -> None:
        """A training begins, or begins again."""
        self._decoding.stop()
        self._bar.start()
        self.end(number)
        self._tasks[number] = self._bar.add_task(f"training {number + 1} of {count}: {name}", total=None)

    def step(self, number: int, progress: Training) -> None:
        """It did an optimizer step."""
        self._bar.update(self._tasks[number], completed=progress.step, total=progress.steps)

    def end(self, number: int) -> None:
        """It ended."""
        if number in self._tasks:
            self._bar.remove_task(self._tasks.pop(number))

    def scored(self, done: int, total: int) -> None:
        """So many networks have their zero-cost scores."""
        self.end(SCORING)
        if done < total:
            self._tasks[SCORING] = self._bar.add_task("zero-cost scores", total=total, completed=done)


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
