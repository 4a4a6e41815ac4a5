"""A search without training, for tests of what happens around it."""

import random
from collections.abc import Callable
from dataclasses import replace

from study_pieces import SPACE, Onlooker, new_study, small_setting

from acmix_nas.arch import Arch
from acmix_nas.cost import count
from acmix_nas.executors import Job, Outcome
from acmix_nas.record import TrialRecord
from acmix_nas.search import search
from acmix_nas.space import Choice

IN_MEMORY = "sqlite://"
WITHOUT_TIME = ("started", "seconds")
Curve = Callable[[Arch, int], tuple[float, ...]]


def steady(arch: Arch, epochs: int) -> tuple[float, ...]:
    """A network's fate is in its name, and every epoch shows it."""
    fate = int(arch.id, 16) % 1000 / 1000
    return tuple(fate * (epoch + 1) / epochs for epoch in range(epochs))


def fickle(arch: Arch, epochs: int) -> tuple[float, ...]:
    """Who is ahead until the last epoch is behind in the end."""
    *early, last = steady(arch, epochs)
    return (*early, 1 - last)


class Curves:
    """An executor that gives the scores of a function, a job at a time; it can lose workers."""

    def __init__(
        self, setting, curve: Curve = steady, *, workers: int = 1, lose: tuple[int, ...] = (), metric: str = "top1"
    ) -> None:
        self.metric = metric
        self.setting = setting
        self.curve = curve
        self.workers = workers
        self.lose = list(lose)
        self.jobs: list[Job] = []
        self.done: list[tuple[int, int | None]] = []
        self.halted = False

    def submit(self, job: Job) -> None:
        assert len(self.jobs) < self.workers
        self.jobs.append(job)

    def wait(self, on_step) -> list[Outcome]:
        job = self.jobs.pop(0)
        self.done.append((job.number, job.until))
        if self.halted:
            return [Outcome(job=job)]
        if job.number in self.lose:
            self.lose.remove(job.number)
            return [Outcome(job=job, lost="killed")]
        return [Outcome(job=job, record=self.record(job))]

    def halt(self) -> None:
        self.halted = True

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        assert not self.jobs or self.halted or _[0]

    def record(self, job: Job) -> TrialRecord:
        budget = self.setting.budget
        scores = self.curve(job.arch, budget.epochs)[: job.until]
        return TrialRecord(
            number=job.number,
            status="complete" if len(scores) == budget.epochs else "paused",
            arch=job.arch,
            cost=count(job.arch, self.setting.input_size),
            label=job.label,
            split=self.setting.split,
            metric=self.metric,
            scores=scores,
            losses=tuple(1 - score for score in scores),
            mixing=((),) * len(scores),
            seeds=dict(job.seeds),
            budget=budget.to_dict(),
            proxy=self.setting.proxy.to_dict(),
            data=self.setting.splits.to_dict(),
            environment={},
            started="2026-01-01T00:00:00+00:00",
            seconds=float(len(scores)),
        )


class Anyhow(Curves):
    """Jobs end in any order, and some workers are lost."""

    def __init__(self, setting, seed: int, *, workers: int, curve=steady, lost: float = 0.0) -> None:
        super().__init__(setting, curve, workers=workers)
        self.chance, self.lost = random.Random(seed), lost

    def wait(self, on_step) -> list[Outcome]:
        self.jobs.insert(0, self.jobs.pop(self.chance.randrange(len(self.jobs))))
        if not self.halted and self.chance.random() < self.lost:
            return [Outcome(job=self.jobs.pop(0), lost="killed")]
        return super().wait(on_step)


def setting_of(epochs: int):
    """A setting whose budget has so many epochs."""
    setting = small_setting(images=10)
    return replace(setting, budget=replace(setting.budget, epochs=epochs))


def run(study, executor, *, trials: int, space=SPACE, callbacks=None, **options) -> bool:
    """A search with an executor of this file."""
    callbacks = callbacks or Onlooker()
    return search(study, space, executor.setting, trials=trials, callbacks=callbacks, executor=executor, **options)


def pruned_study(out, name: str = "study", *, storage: str | None = IN_MEMORY, **settings):
    """An empty study that prunes, in memory."""
    return new_study(out, name, storage=storage, prune="asha", **settings)


def wide_space():
    """1,331 networks with few choices, so that a trial is stored quickly."""
    kernels = tuple(range(1, 23, 2))
    choices = tuple(Choice(f"stages.{stage}.conv_kernel", kernels, ordered=True) for stage in range(3))
    usual = {"combine": "learned", "head_dim": 32, "conv_impl": "groupconv", "conv_kernel": 3}
    fixed = tuple({**fields, **usual} for fields in SPACE.fixed)
    return replace(SPACE, choices=choices, fixed=fixed, first={})


def essence(study) -> list[dict]:
    """What must repeat: everything but when and how long."""
    return [{k: v for k, v in record.to_dict().items() if k not in WITHOUT_TIME} for record in study.records()]
