"""How a study comes to be on disk: its folder, its storage and its header, or nothing that bars its name."""

import json
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import optuna

from acmix_nas.errors import StudyError
from acmix_nas.record import StudyHeader
from acmix_nas.study.folder import DATABASE, at_work, has_study, study_folder
from acmix_nas.study.storage import is_unborn, make_storage, parse_url


def create_on_disk(
    out: Path, header: StudyHeader, storage: str | None, fill: Callable[[Path], None] | None
) -> tuple[Path, optuna.storages.RDBStorage]:
    """The folder `out`/NAME and the storage of a new study, as `Study.create` says.

    Raises:
        StudyError: The name is taken or cannot name a folder, or the storage cannot be used.
    """
    folder = study_folder(out, header.name)
    check_free(out, header.name)
    if storage is not None:
        parse_url(storage)
    is_new = not folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "it is a file" if folder.exists() else error
        raise StudyError(f"the folder {folder} cannot be made: {why}; choose another --out.") from error
    with at_work(folder):
        check_free(out, header.name)
        try:
            (folder / DATABASE).unlink(missing_ok=True)
            if fill is not None:
                fill(folder)
            return folder, make_storage(folder, storage, partial(_begin, header))
        except BaseException:
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)
            raise


def check_free(out: Path, name: str) -> None:
    """Refuses a name that a study has.

    Raises:
        StudyError: It is taken, or cannot name a folder.
    """
    folder = study_folder(out, name)
    if has_study(folder) and not is_unborn(folder):
        raise StudyError(f"the study {name!r} exists in {out}; add --resume to continue it, or choose another --study.")


def _begin(header: StudyHeader, storage: optuna.storages.RDBStorage, again: bool) -> None:
    """Makes the study in its storage; or takes the one that the same command made there before it was killed."""
    directions = [item.direction for item in header.measures]
    try:
        study = optuna.create_study(storage=storage, study_name=header.name, directions=directions)
    except optuna.exceptions.DuplicatedStudyError as error:
        study = optuna.load_study(study_name=header.name, storage=storage)
        ours = study.user_attrs.get("header") in (None, json.loads(json.dumps(header.to_dict())))
        ours &= [direction.name.lower() for direction in study.directions] == directions
        if not again or not ours or study.get_trials(deepcopy=False):
            raise StudyError(f"the storage has a study {header.name!r} already; choose another --study.") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # names for optuna-dashboard only
        study.set_metric_names(list(header.objectives))
    study.set_user_attr("header", header.to_dict())
