"""The search loop: draw a network, train its proxy, store the record."""

import logging
from typing import Protocol

from acmix_nas.arch import Arch
from acmix_nas.record import TrialRecord
from acmix_nas.search.sampler import decode, draw, encode
from acmix_nas.search.study import DIRECTIONS, Study
from acmix_nas.space import Proxy, Space
from acmix_nas.train import Progress, Setting, run_trial
from acmix_nas.train.trial import shared_record

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Who looks on while a study runs."""

    def note(self, text: str) -> None:
        """Something beside the trials is done now."""

    def begin(self, number: int, label: str, arch: Arch) -> None:
        """A trial begins."""

    def step(self, progress: Progress) -> None:
        """An optimizer step was done."""

    def end(self, record: TrialRecord) -> None:
        """A trial ended and is stored."""


def search(study: Study, space: Space, setting: Setting, *, trials: int, watcher: Watcher) -> bool:
    """Runs a study until it has so many trials.

    A trial that an interrupt left running is trained again from its start, with its number and its seeds: the study
    then is what it would have been without the interrupt.

    Args:
        study: The study.
        space: Its space.
        setting: How networks are trained and scored.
        trials: Number of trials in all.
        watcher: Told of every trial.

    Returns:
        False if every network of the space was tried before there were so many trials.
    """
    for left in study.running():
        log.info("trial %d was interrupted; it is trained again", left.number)
        _run(
            study,
            space,
            setting,
            left.number,
            left.user_attrs["label"],
            space.build(decode(space, left.params)),
            watcher,
        )
    while len(study.trials()) < trials:
        drawn = draw(
            space,
            seed=study.header.seed,
            starts=study.header.settings["random_starts"],
            history=study.trials(),
            seen={record.arch_id for record in study.records()},
            directions=[DIRECTIONS[name] for name in study.header.objectives],
        )
        if drawn is None:
            watcher.note(f"all {space.size:,} networks of the space were tried")
            return False
        label, values = drawn
        number = study.start(*encode(space, values), label)
        _run(study, space, setting, number, label, space.build(values), watcher)
    return True


def _run(study: Study, space: Space, setting: Setting, number: int, label: str, arch: Arch, watcher: Watcher) -> None:
    watcher.begin(number, label, arch)
    log.info("trial %d begins: %s, %s", number, label, arch.id)
    seeds = {"init": study.header.seed, "order": study.header.seed}
    twin = _twin(study, setting.proxy, arch)
    if twin is not None:
        record = shared_record(twin, arch, setting, number=number, label=label)
    else:
        record = run_trial(arch, setting, number=number, label=label, seeds=seeds, on_step=watcher.step)
    study.finish(record)
    log.info("trial %d %s: top1 %s in %.1f s", number, record.status, record.top1, record.seconds)
    watcher.end(record)


def _twin(study: Study, proxy: Proxy, arch: Arch) -> TrialRecord | None:
    """An earlier trial whose proxy network is the same."""
    small = proxy.shrink(arch)
    trained = (record for record in study.records() if record.status == "complete" and record.shared_with is None)
    return next((record for record in trained if proxy.shrink(record.arch) == small), None)
