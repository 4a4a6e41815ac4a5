"""The search loop: draw a network, have its proxy trained, store the record."""

import logging
from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState

from acmix_nas.executors import Executor, Job, Outcome
from acmix_nas.executors.callbacks import Callbacks
from acmix_nas.executors.jobs import failed_record
from acmix_nas.executors.serial import SerialExecutor
from acmix_nas.front import values_of
from acmix_nas.record import TrialRecord
from acmix_nas.samplers.make import decode, encode
from acmix_nas.samplers.observations import copied_trial
from acmix_nas.search.candidates import Proposals
from acmix_nas.search.objectives import Prices
from acmix_nas.search.pruning import Pruning
from acmix_nas.space import Space
from acmix_nas.study.stop import Stop
from acmix_nas.study.study import Study
from acmix_nas.train import Progress, Setting
from acmix_nas.train.trial import shared_record

log = logging.getLogger(__name__)

MOST_LOST = 3
"""A trial that lost this many workers has failed."""


def search(
    study: Study,
    space: Space,
    setting: Setting,
    *,
    trials: int,
    callbacks: Callbacks,
    executor: Executor | None = None,
    stop: Stop | None = None,
    prices: Prices | None = None,
) -> bool:
    """Runs a study until it has this many trials, or is asked to stop.

    A trial that was left running goes on from its last epoch, with its number and its seeds: with one worker the study
    then is what it would have been without the interrupt.

    Args:
        study: The study; its settings say what is optimised, limited and pruned.
        space: Its space.
        setting: How networks are trained and scored.
        trials: Number of trials in all, beside those that other studies gave.
        callbacks: Called for every trial.
        executor: Trains the networks; this process by default.
        stop: Asked after every step whether to stop.
        prices: Exact costs of the space's networks; counted without latency by default.

    Returns:
        False if every network of the space was tried before there were this many trials.
    """
    executor = executor or SerialExecutor(setting)
    prices = prices or Prices(setting.input_size)
    with study.held():
        study.sweep_checkpoints()
        try:
            with executor:
                return _Driver(study, space, setting, callbacks, executor, stop or Stop(), prices).run(trials)
        finally:
            study.sweep_checkpoints()


class _Driver:
    """Asks, tells and decides; the only one that writes to the study."""

    def __init__(
        self,
        study: Study,
        space: Space,
        setting: Setting,
        callbacks: Callbacks,
        executor: Executor,
        stop: Stop,
        prices: Prices,
    ) -> None:
        self._study = study
        self._space = space
        self._setting = setting
        self._callbacks = callbacks
        self._executor = executor
        self._stop = stop
        self._prices = prices
        self._jobs: dict[int, Job] = {}
        self._pruning = Pruning(
            study,
            epochs=setting.budget.epochs,
            spared=frozenset(space.first),
            active=study.header.settings.get("prune", "none") == "asha",
        )
        self._proposals = Proposals(study, space, prices, callbacks.note)
        self._twins: dict[str, int] = {}
        for record in study.reached().values():
            self._remember(record)

    def run(self, trials: int) -> bool:
        """Runs until there are enough trials, nothing is left to try, or someone asks to stop."""
        total = trials + sum(record.origin is not None for record in self._study.records())
        self._judge()
        while True:
            self._fill(total)
            if not self._jobs:
                break
            for outcome in self._executor.wait(self._step):
                self._take(outcome, total)
            self._halt_if_asked()
        if self._stop.reason is None:
            for record in self._pruning.left():
                self._prune(record)
        return not self._proposals.exhausted

    def _fill(self, total: int) -> None:
        """Hands out work while a worker is free."""
        while not self._stop.check() and len(self._jobs) < self._executor.workers:
            job = self._left() or self._going_on() or self._new(total)
            if job is None:
                return
            self._callbacks.begin(job.number, job.label, job.arch)
            shared = self._shared(job)
            if shared is not None:
                self._store(shared, total)
                continue
            self._jobs[job.number] = job
            self._executor.submit(job)

    def _left(self) -> Job | None:
        """A trial that began and is in no worker: its driver or its worker died."""
        for trial in self._study.running():
            if trial.number not in self._jobs and not self._pruning.is_paused(trial):
                log.info("trial %d was interrupted; it continues from its last epoch", trial.number)
                return self._job(trial)
        return None

    def _going_on(self) -> Job | None:
        """A paused trial that is good enough to go on."""
        found = self._pruning.next_to_go_on()
        if found is None:
            return None
        number, until = found
        self._study.carry_on(number, until)
        log.info("trial %d continues to epoch %d", number, until or self._setting.budget.epochs)
        return self._job(self._study.trials()[number])

    def _new(self, total: int) -> Job | None:
        """The next network that the sampler proposes."""
        if len(self._study.trials()) >= total:
            return None
        drawn = self._proposals.draw(self._history())
        if drawn is None:
            return None
        label, values = drawn
        number = self._study.start(*encode(self._space, values), label, until=self._pruning.first_stop(label))
        job = self._job(self._study.trials()[number])
        log.info("trial %d starts: %s, %s", number, label, job.arch.id)
        return job

    def _job(self, trial: FrozenTrial) -> Job:
        seed = self._study.header.seed
        return Job(
            number=trial.number,
            label=trial.user_attrs["label"],
            arch=self._space.build(decode(self._space, trial.params)),
            seeds={"init": seed, "order": seed},
            checkpoint=self._study.checkpoint(trial.number),
            until=trial.user_attrs.get("until"),
        )

    def _shared(self, job: Job) -> TrialRecord | None:
        """What the job would reach, if a network with the same proxy was trained so far before."""
        number = self._twins.get(self._setting.proxy.shrink(job.arch).id)
        twin = None if number is None else self._study.record(number)
        wanted = job.until or self._setting.budget.epochs
        if twin is None or twin.number == job.number or len(twin.scores) < wanted:
            return None
        record = shared_record(twin, job.arch, self._setting, number=job.number, label=job.label)
        return record if wanted == self._setting.budget.epochs else record.cut(wanted)

    def _take(self, outcome: Outcome, total: int) -> None:
        """What came of a job."""
        job = self._jobs.pop(outcome.job.number)
        if outcome.lost is not None:
            lost = self._study.lose_worker(job.number)
            log.warning("trial %d lost its worker: %s", job.number, outcome.lost)
            if lost >= MOST_LOST:
                self._fail(job, f"{outcome.lost}; {lost} times in all", total)
        elif outcome.failed is not None:
            log.warning("trial %d is stopped: %s", job.number, outcome.failed)
            self._fail(job, outcome.failed, total)
        elif outcome.record is not None:
            self._store(outcome.record, total)

    def _fail(self, job: Job, reason: str, total: int) -> None:
        reached = self._study.record(job.number)
        self._store(failed_record(job, self._setting, reason, reached=reached), total)

    def _store(self, record: TrialRecord, total: int) -> None:
        """Keeps a record; a trial that reached its rung waits there."""
        record = replace(record, cost=self._prices(record.arch), origin=None)
        if record.status == "paused":
            self._study.pause(record)
            self._remember(record)
            reached = f"{record.metric} {record.scores[-1]}"
            log.info("trial %d waits after epoch %d: %s", record.number, len(record.scores), reached)
            self._callbacks.pause(record)
        else:
            self._end(record)
        self._judge()
        for hopeless in self._pruning.hopeless(max(0, total - len(self._study.trials()))):
            self._prune(hopeless)

    def _end(self, record: TrialRecord) -> None:
        self._study.finish(record)
        self._study.drop_checkpoint(record.number)
        self._remember(record)
        reached = f"{record.metric} {record.score}"
        log.info("trial %d %s: %s in %.1f s", record.number, record.status, reached, record.seconds)
        self._callbacks.end(record)

    def _prune(self, record: TrialRecord) -> None:
        self._end(replace(record, status="pruned"))

    def _judge(self) -> None:
        for text in self._pruning.judge():
            self._callbacks.note(text)

    def _remember(self, record: TrialRecord) -> None:
        """Which trial trained a proxy network furthest."""
        if record.status != "failed" and record.shared_with is None:
            shrunk = self._setting.proxy.shrink(record.arch).id
            before = self._study.record(self._twins[shrunk]) if shrunk in self._twins else None
            if before is None or len(before.scores) <= len(record.scores):
                self._twins[shrunk] = record.number

    def _history(self) -> list[FrozenTrial]:
        """The trials as the sampler sees them: a pruned or paused one with the score it might have reached."""
        estimates = self._pruning.estimates()
        return [
            self._estimated(trial, estimates[trial.number]) if trial.number in estimates else trial
            for trial in self._study.trials()
        ]

    def _estimated(self, trial: FrozenTrial, score: float) -> FrozenTrial:
        record = self._study.reached()[trial.number]
        return copied_trial(trial, TrialState.COMPLETE, values_of(self._study.header.measures, score, record.cost))

    def _step(self, number: int, progress: Progress) -> None:
        self._callbacks.step(number, progress)
        self._halt_if_asked()

    def _halt_if_asked(self) -> None:
        if self._stop.check():
            self._executor.halt()
