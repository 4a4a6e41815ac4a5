"""A small real search for tests that kill it."""

import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch
from study_pieces import SPACE, Onlooker, new_study, small_setting

from acmix_nas.data import load_splits
from acmix_nas.executors import Place, Work, make_executor, process
from acmix_nas.search import search
from acmix_nas.search.order import lag_of
from acmix_nas.study.folder import at_work, has_study
from acmix_nas.study.study import Study

IMAGES, EPOCHS, SCORED = 24, 3, 30
LOAD = partial(load_splits, None, input_size=28, train_images=IMAGES, seed=0, with_report=False, search_images=SCORED)


def main(connection: Connection, out: Path, name: str, trials: int, workers: int = 1) -> None:
    """Begins the study or goes on with it; says when it starts to work."""
    torch.set_num_threads(1)
    study = Study.open(out / name) if has_study(out / name) else begun(out, name, workers)
    setting = replace(small_setting(images=IMAGES, epochs=EPOCHS), splits=LOAD())
    with at_work(study.folder):
        connection.send("ready")
        executor = None
        if workers > 1:
            process.start = forked
            work = Work.of(setting, load=LOAD, source=None)
            executor = make_executor("process", work, [Place(1)] * workers)
        search(study, SPACE, setting, trials=trials, callbacks=Onlooker(), executor=executor)


def begun(out: Path, name: str, workers: int) -> Study:
    return new_study(out, name, seed=3, prune="asha", lag=lag_of(workers, prunes=True))


def forked(target, *values, daemon: bool, environment: object) -> ForkProcess:
    """Starts a worker from this process, which was forked itself: a server of its own would load torch again."""
    child = ForkProcess(target=_alone, args=(target, *values), daemon=daemon)
    child.start()
    return child


def _alone(target, *values) -> None:
    """Holds no file of the process that it was forked from, as its lock, but its own end of the channel."""
    own = {value.fileno() for value in values if isinstance(value, Connection)}
    for number in [int(file.name) for file in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number not in own:
            with suppress(OSError):
                os.close(number)
    target(*values)
