"""A small real search for tests that kill it."""

from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from study_pieces import SPACE, Onlooker, new_study, small_setting

from acmix_nas.search import search
from acmix_nas.study.folder import at_work, has_study
from acmix_nas.study.study import Study

IMAGES, EPOCHS, SCORED = 24, 3, 30


def main(connection: Connection, out: Path, name: str, trials: int) -> None:
    """Begins the study or goes on with it; says when it starts to work."""
    torch.set_num_threads(1)
    study = Study.open(out / name) if has_study(out / name) else new_study(out, name, seed=3, prune="asha")
    setting = small_setting(images=IMAGES, epochs=EPOCHS)
    whole = setting.splits.search
    scored = replace(whole, images=whole.images[:SCORED], targets=whole.targets[:SCORED])
    setting = replace(setting, splits=replace(setting.splits, search=scored))
    with at_work(study.folder):
        connection.send("ready")
        search(study, SPACE, setting, trials=trials, callbacks=Onlooker())
