"""A small real search, run as a script by tests that kill it: python tiny_search.py FOLDER_OF_STUDIES NAME TRIALS."""

import sys
from pathlib import Path

import torch
from study_pieces import SPACE, Onlooker, new_study, small_setting

from acmix_nas.search import search
from acmix_nas.search.study import Study, at_work, has_study

IMAGES, EPOCHS = 24, 3


def main(out: Path, name: str, trials: int) -> None:
    """Begins the study or goes on with it; says when it starts training."""
    torch.set_num_threads(1)
    study = Study.open(out / name) if has_study(out / name) else new_study(out, name, seed=3, prune="asha")
    setting = small_setting(images=IMAGES, epochs=EPOCHS)
    with at_work(study.folder):
        print("ready", flush=True)
        search(study, SPACE, setting, trials=trials, watcher=Onlooker())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
