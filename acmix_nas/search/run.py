"""The search loop: draw a network, have its proxy trained, store the record."""

import logging
from collections.abc import Callable
from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState

from acmix_nas.arch import Arch
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
from acmix_nas.search.order import ResultOrder
from acmix_nas.search.pruning import Pruning
from acmix_nas.space import Space
from acmix_nas.study.stop import Stop
from acmix_nas.study.stored import Turn, turn_of
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
    executor, stop = executor or SerialExecutor(setting), stop or Stop()
    with study.held():
        study.sweep_checkpoints()
        try:
            with executor:
                driver = _Driver(
                    study,
                    space,
                    setting,
                    callbacks,
                    prices or Prices(setting.input_size, None, setting.cost_of),
                    trials,
                )
                train_jobs(executor, driver.next, driver.take, callbacks=callbacks, stop=stop)
                if stop.reason is None:
                    driver.prune_left()
                return not driver.proposals.exhausted
        finally:
            study.sweep_checkpoints()


def train_jobs(
    executor: Executor,
    next_job: Callable[[], Job | Outcome | None],
    take: Callable[[Outcome], None],
    *,
    callbacks: Callbacks,
    stop: Stop,
) -> None:
    """Hands out jobs while a worker is free, until there are none or someone asks to stop.

    Args:
        executor: Trains them.
        next_job: The next one, or what comes of it where it need not be trained; None while there is none.
        take: Called with what came of each.
        callbacks: Called after every step.
        stop: Asked after every step.
    """

    def step(number: int, progress: Progress) -> None:
        callbacks.step(number, progress)
        if stop.check():
            executor.halt()

    running = 0
    while True:
        while running < executor.workers and not stop.check() and (job := next_job()):
            if isinstance(job, Outcome):
                take(job)
            else:
                executor.submit(job)
                running += 1
        if not running:
            return
        for outcome in executor.wait(step):
            running -= 1
            take(outcome)
        if stop.check():
            executor.halt()


def record_of(
    outcome: Outcome, setting: Setting, *, name: str, lost: int, reached: TrialRecord | None = None
) -> TrialRecord | None:
    """The record that a job leaves; None if it was halted, or is to be tried again.

    Args:
        outcome: What came of the job.
        setting: How it was trained.
        name: What the log calls it.
        lost: How many workers it has lost.
        reached: The last record of its trial.
    """
    reason = outcome.failed
    if outcome.lost is not None:
        log.warning("%s lost its worker: %s", name, outcome.lost)
        reason = f"{outcome.lost}; {lost} times in all" if lost >= MOST_LOST else None
    return outcome.record if reason is None else failed_record(outcome.job, setting, reason, reached=reached)


class _Driver:
    """Asks, tells and decides; the only one that writes to the study."""

    def __init__(
        self, study: Study, space: Space, setting: Setting, callbacks: Callbacks, prices: Prices, trials: int
    ) -> None:
        self._study = study
        self._space = space
        self._setting = setting
        self._callbacks = callbacks
        self._prices = prices
        self._total = trials + study.brought
        self._in_workers: set[int] = set()
        self._pruning = Pruning(
            study,
            epochs=setting.budget.epochs,
            spared=frozenset(space.first),
            active=study.header.settings.get("prune", "none") == "asha",
        )
        self._order = self._order_so_far()
        self.proposals = Proposals(study, space, prices, callbacks.note)
        self._twins: dict[str, int] = {}
        for record in study.reached().values():
            self._remember(record)
        self._judge()
        for trial in study.running():
            if not self._pruning.is_paused(trial) and (arrived := study.arrived(trial)) is not None:
                self._arrive(trial, arrived)

    def next(self) -> Job | Outcome | None:
        """The next network to train, or what is known of it; None while there is none."""
        job = self._left()
        while job is None and self._may_decide():
            job = self._going_on() or self._new()
            if job is None:
                following = self._order.following()
                if following is None:
                    return None
                self._store(following)
        if job is None:
            return None
        self._callbacks.begin(job.number, job.label, job.arch)
        if record := self._shared(job):
            return Outcome(job=job, record=record)
        self._in_workers.add(job.number)
        return job

    def take(self, outcome: Outcome) -> None:
        """What came of a job."""
        number = outcome.job.number
        self._in_workers.discard(number)
        lost = self._study.lose_worker(number) if outcome.lost is not None else 0
        if outcome.failed is not None:
            log.warning("trial %d is stopped: %s", number, outcome.failed)
        reached = self._study.record(number)
        record = record_of(outcome, self._setting, name=f"trial {number}", lost=lost, reached=reached)
        if record is not None:
            self._arrive(self._study.trials()[number], record)

    def prune_left(self) -> None:
        """Ends the trials that wait at a rung."""
        for record in self._pruning.left():
            self._end(replace(record, status="pruned"))

    def _arrive(self, trial: FrozenTrial, record: TrialRecord) -> None:
        """Keeps a result until its turn comes."""
        turn = turn_of(trial.user_attrs)
        assert turn is not None
        if not self._order.is_due(turn.number) and self._study.arrived(trial) is None:
            self._study.arrive(record, turn.number)
        self._order.arrive(turn.number, record)
        self._may_decide()  # what counts now is stored and shown now

    def _may_decide(self) -> bool:
        """Lets the results count whose turn has come; whether the next decision can be made then."""
        while (due := self._order.due()) is not None:
            self._store(due)
        return self._order.may_decide()

    def _order_so_far(self) -> ResultOrder:
        """Where the decisions of the study have come to."""
        decided, still_open = 0, []
        for trial in self._study.trials():
            turn = turn_of(trial.user_attrs)
            if turn is not None:
                decided = max(decided, turn.number + 1)
                if trial.state == TrialState.RUNNING and not self._pruning.is_paused(trial):
                    still_open.append(turn.number)
        return ResultOrder(self._study.header.settings.get("lag"), decided=decided, open_jobs=still_open)

    def _left(self) -> Job | None:
        """A trial that began and is in no worker: its driver or its worker died."""
        for trial in self._study.running():
            if self._is_open(trial) and trial.number not in self._in_workers:
                log.info("trial %d was interrupted; it continues from its last epoch", trial.number)
                return self._job(trial)
        return None

    def _going_on(self) -> Job | None:
        """A paused trial that is good enough to go on."""
        found = self._pruning.next_to_go_on()
        if found is None:
            return None
        number, until = found
        arch = self._arch(self._study.trials()[number])
        self._study.carry_on(number, self._turn(arch, until, number))
        log.info("trial %d continues to epoch %d", number, until or self._setting.budget.epochs)
        return self._job(self._study.trials()[number])

    def _new(self) -> Job | None:
        """The next network that the sampler proposes."""
        wanted = len(self._study.trials()) < self._total
        drawn = self.proposals.draw(self._history()) if wanted else None
        if drawn is None:
            return None
        label, values = drawn
        turn = self._turn(self._space.build(values), self._pruning.first_stop(label))
        number = self._study.start(*encode(self._space, values), label, turn)
        job = self._job(self._study.trials()[number])
        log.info("trial %d starts: %s, %s", number, label, job.arch.id)
        return job

    def _turn(self, arch: Arch, until: int | None, number: int | None = None) -> Turn:
        """The job that is decided on; its twin is a trial whose network has the same proxy and was trained so far."""
        twin = self._twins.get(self._setting.proxy.shrink(arch).id)
        reached = None if twin is None or twin == number else self._study.record(twin)
        wanted = until or self._setting.budget.epochs
        is_trained = reached is not None and len(reached.scores) >= wanted
        return Turn(number=self._order.decide(), until=until, twin=twin if is_trained else None)

    def _is_open(self, trial: FrozenTrial) -> bool:
        """Whether the job of a running trial is still to be done."""
        return not self._pruning.is_paused(trial) and self._study.arrived(trial) is None

    def _arch(self, trial: FrozenTrial) -> Arch:
        return self._space.build(decode(self._space, trial.params))

    def _job(self, trial: FrozenTrial) -> Job:
        seed, turn = self._study.header.seed, turn_of(trial.user_attrs)
        return Job(
            number=trial.number,
            label=trial.user_attrs["label"],
            arch=self._arch(trial),
            seeds={"init": seed, "order": seed},
            checkpoint=self._study.checkpoint(trial.number),
            until=None if turn is None else turn.until,
        )

    def _shared(self, job: Job) -> TrialRecord | None:
        """What the job comes to, if a network with the same proxy was trained so far before it was decided on."""
        turn = turn_of(self._study.trials()[job.number].user_attrs)
        twin = None if turn is None or turn.twin is None else self._study.record(turn.twin)
        if twin is None:
            return None
        wanted = job.until or self._setting.budget.epochs
        record = shared_record(twin, job.arch, self._setting, number=job.number, label=job.label)
        return record if wanted == self._setting.budget.epochs else record.cut(wanted)

    def _store(self, record: TrialRecord) -> None:
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
        for hopeless in self._pruning.hopeless(max(0, self._total - len(self._study.trials()))):
            self._end(replace(hopeless, status="pruned"))

    def _end(self, record: TrialRecord) -> None:
        self._study.finish(record)
        self._remember(record)
        reached = f"{record.metric} {record.score}"
        log.info("trial %d %s: %s in %.1f s", record.number, record.status, reached, record.seconds)
        self._callbacks.end(record)

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
        estimates, reached, measures = self._pruning.estimates(), self._study.reached(), self._study.header.measures
        return [
            copied_trial(trial, TrialState.COMPLETE, values_of(measures, estimates[number], reached[number].cost))
            if (number := trial.number) in estimates
            else trial
            for trial in self._study.trials()
        ]
