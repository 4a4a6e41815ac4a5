"""Pruning of a study: which paused trials go on, and which never will. The rungs live in the storage."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from optuna.trial import FrozenTrial

from acmix_nas.front import Point, point
from acmix_nas.metrics import COSTS
from acmix_nas.record import TrialRecord
from acmix_nas.search.rungs import ETA, LEAST_CORRELATION, beaten_by, is_protected, leaders, lower_bound, rungs_of
from acmix_nas.study.stored import turn_of
from acmix_nas.study.study import Study

log = logging.getLogger(__name__)

Found = TypeVar("Found")


class Pruning:
    """Asynchronous successive halving over the trials of a study.

    A trial is trained to its first rung and paused; the best third of a rung go on to the next, whenever they are
    known to be that. A tenth of the trials, and the networks that a space names first, are never stopped; on them it
    is judged whether a rung's scores foretell the final ones, and a rung that may not is switched off.

    Args:
        study: The study.
        epochs: Epochs of the budget.
        spared: Labels of trials that are never pruned.
        active: Whether anything is pruned at all.
    """

    def __init__(self, study: Study, *, epochs: int, spared: frozenset[str], active: bool) -> None:
        self._study = study
        self._epochs = epochs
        self._spared = spared
        self._rungs = rungs_of(epochs) if active else ()
        self._off: set[int] = set()
        self._points: dict[int, dict[int, Point]] = {rung: {} for rung in self._rungs}
        self._known: dict[tuple[object, int], tuple[int, Any]] = {}

    def first_stop(self, label: str) -> int | None:
        """The epoch that the next trial is trained to at first; None for all of the budget."""
        number = len(self._study.trials())
        return None if self._is_protected(number, label) else self._stop_after(0)

    def is_paused(self, trial: FrozenTrial) -> bool:
        """Whether a running trial waits at a rung."""
        record, turn = self._study.record(trial.number), turn_of(trial.user_attrs)
        until = None if turn is None else turn.until
        return record is not None and until is not None and len(record.scores) >= until

    def next_to_go_on(self) -> tuple[int, int | None] | None:
        """A paused trial that may go on, and to which epoch; the one that got furthest first."""
        paused = self._paused()
        for rung in reversed(self._rungs):
            waiting = [number for number, record in paused.items() if len(record.scores) == rung]
            if waiting:
                chosen = waiting if rung in self._off else self._worked_out(leaders, rung)
                for number in chosen:
                    if number in waiting:
                        return number, self._stop_after(rung)
        return None

    def hopeless(self, coming: int) -> list[TrialRecord]:
        """Paused trials that can no longer go on, whatever the trials show that are still to come.

        Args:
            coming: Number of trials that will still be begun.
        """
        found = []
        alive, paused = len(self._study.running()), self._paused()
        for rung in (rung for rung in self._rungs if rung not in self._off):
            beaten = self._worked_out(beaten_by, rung)
            quota = (len(beaten) + alive + coming) // ETA
            waiting = [record for record in paused.values() if len(record.scores) == rung]
            found += [record for record in waiting if beaten[record.number] >= quota]
        return found

    def left(self) -> list[TrialRecord]:
        """All paused trials."""
        return list(self._paused().values())

    def judge(self) -> list[str]:
        """Switches rungs off that do not foretell the end, or on again; returns what changed, in words."""
        messages = []
        for rung in self._rungs:
            bound = lower_bound(self._pairs(rung))
            off = bound is not None and bound < LEAST_CORRELATION
            if off != (rung in self._off):
                self._off ^= {rung}
                messages.append(
                    f"pruning after epoch {rung} is switched {'off' if off else 'on again'}: on trials that are "
                    f"never pruned, the rank correlation with the final score is at least {bound:.2f} (95 % "
                    f"bound; {LEAST_CORRELATION} is required)"
                )
        for text in messages:
            log.info(text)
        return messages

    def estimates(self) -> dict[int, float]:
        """What the final score of each pruned or paused trial might be: as much above its last as others gained."""
        records = self._study.reached()
        whole = [record.scores for record in records.values() if record.status == "complete"]
        gains = {
            epoch: sum(scores[-1] - scores[epoch - 1] for scores in whole if len(scores) == self._epochs) / len(whole)
            for epoch in self._rungs
            if whole
        }
        return {
            number: self._study.header.metric.clipped(record.scores[-1] + gains[len(record.scores)])
            for number, record in records.items()
            if record.status in ("paused", "pruned") and len(record.scores) in gains
        }

    def _stop_after(self, epoch: int) -> int | None:
        return next((rung for rung in self._rungs if rung > epoch and rung not in self._off), None)

    def _is_protected(self, number: int, label: str) -> bool:
        return label in self._spared or is_protected(self._study.header.seed, number)

    def _paused(self) -> Mapping[int, TrialRecord]:
        reached = self._study.reached()
        return {trial.number: reached[trial.number] for trial in self._study.running() if self.is_paused(trial)}

    def _reached(self, rung: int) -> dict[int, Point]:
        """The objectives of every trial at a rung: the score then, the exact costs, the score first."""
        measures = sorted(self._study.header.measures, key=lambda item: item.name in COSTS)  # the metric first
        points = self._points[rung]
        for number, record in self._study.reached().items():
            if number not in points and record.status != "failed" and len(record.scores) >= rung:
                points[number] = point(measures, record.scores[rung - 1], record.cost)
        return points

    def _worked_out(self, work: Callable[[Mapping[int, Point]], Found], rung: int) -> Found:
        """What follows from the trials at a rung; worked out again when another has reached it."""
        reached = self._reached(rung)
        if self._known.get((work, rung), (-1,))[0] != len(reached):
            self._known[work, rung] = len(reached), work(reached)
        found: Found = self._known[work, rung][1]
        return found

    def _pairs(self, rung: int) -> list[tuple[float, float]]:
        """(score at a rung, final score) of the trials that nothing chose."""
        return [
            (record.scores[rung - 1], record.scores[-1])
            for number, record in self._study.reached().items()
            if record.status == "complete"
            and record.shared_with is None
            and record.origin is None
            and self._is_protected(number, record.label)
        ]
