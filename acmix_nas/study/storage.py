"""The Optuna storage behind a study: SQLite in its folder, or any database that a URL names."""

import json
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from acmix_nas.errors import StudyError, UsageError
from acmix_nas.fields import TEXT, Origin, shown
from acmix_nas.files import write_text
from acmix_nas.record import StudyHeader
from acmix_nas.study.database import Database, outage
from acmix_nas.study.folder import DATABASE, ELSEWHERE
from acmix_nas.study.stored import check_local

VARIABLE = "ACMIX_STORAGE"
ELSEWHERE_RULES = {"url": TEXT, "study": TEXT}
"""What storage.json says; 0.1 did not say the name that the study has there."""
PATIENCE_S = 60
"""How long a write waits for another process that reads."""
CONNECT_S = 10


def make_storage(folder: Path, url: str | None, header: StudyHeader) -> optuna.storages.RDBStorage:
    """The storage of a new study; the folder has it once it has the header, and until then has no study.

    Args:
        folder: The study's folder, which this process holds.
        url: URL of a database, remembered without its password; None for SQLite in the folder.
        header: What holds for all trials.

    Raises:
        StudyError: It cannot be reached, or would be SQLite on a network file system.
        UsageError: The URL is none.
    """
    if url is None:
        return _make_here(folder, header)
    begun = folder / f".{ELSEWHERE}.begun"
    again = begun.is_file()
    parsed = parse_url(url)
    kept = {"url": parsed.render_as_string(hide_password=True), "study": folder.name}
    write_text(begun, json.dumps(kept) + "\n")
    try:
        storage = _connect(parsed)
        _begin(header, storage, again)
    except Exception:
        if not again:
            begun.unlink()
        raise
    begun.replace(folder / ELSEWHERE)
    return storage


def _make_here(folder: Path, header: StudyHeader) -> optuna.storages.RDBStorage:
    begun = f".{DATABASE}.begun"
    for left in folder.glob(f"{begun}*"):  # of a process that was killed
        left.unlink()
    storage = _connect(_sqlite(folder, begun))
    _begin(header, storage, False)
    storage.remove_session()
    storage.engine.dispose()
    (folder / begun).replace(folder / DATABASE)
    return _connect(_sqlite(folder))


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


def find_storage(folder: Path, url: str | None = None) -> optuna.storages.RDBStorage:
    """The storage of the study in a folder: study.db in it, or one elsewhere that the user names too.

    A folder may come from anybody, so what it says of another database is only shown: nothing is connected to, and no
    password is sent, unless `url` or the environment's ACMIX_STORAGE is that URL.

    Raises:
        StudyError: It cannot be reached, or is elsewhere and was not named.
        UsageError: The URL is none.
    """
    stored = _elsewhere(folder)
    if stored is None:
        return _connect(_sqlite(folder))
    kept = stored.render_as_string(hide_password=True)
    named = [given for given in (url, os.environ.get(VARIABLE)) if given]
    for given in named:
        if parse_url(given).render_as_string(hide_password=True) == kept:
            return _connect(parse_url(given))
    said = f", not in {without_password(named[0])}" if named else ""
    hint = ", with its password" if stored.password is not None else ""
    raise StudyError(
        f"the study in {folder} says that it is stored in {kept}{said}. A folder alone opens no database: if you "
        f"trust this one, name it with --storage {kept} or in {VARIABLE}{hint}."
    )


def _elsewhere(folder: Path) -> URL | None:
    """Where a folder says that its study is; None for study.db in it.

    Raises:
        StudyError: The folder says nothing that can be understood.
    """
    own, kept = folder / DATABASE, _said(folder)
    if kept:
        try:
            return parse_url(kept["url"])
        except UsageError as error:
            raise _origin(folder).wrong(
                f"the URL of a database is needed; it is {without_password(shown(kept['url']))}", "url"
            ) from error
    if own.is_symlink() and not own.resolve().is_relative_to(folder.resolve()):
        return URL.create("sqlite", database=str(own.resolve()))
    return None


def study_name(folder: Path) -> str:
    """The name that the study of a folder has in its storage: the folder's, unless that was renamed since."""
    return _said(folder).get("study", folder.name)


def _said(folder: Path) -> dict[str, str]:
    """What storage.json says; nothing where there is none."""
    origin = _origin(folder)
    there = (folder / ELSEWHERE).is_file()
    return origin.fields(origin.read(), ELSEWHERE_RULES, optional=("study",)) if there else {}


def _origin(folder: Path) -> Origin:
    return Origin(folder / ELSEWHERE, StudyError, "Name the folder of a study.")


@contextmanager
def storing(name: str) -> Iterator[None]:
    """Failures of the storage of a study as one message.

    Raises:
        StudyError: Something could not be stored.
    """
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        raise StudyError(
            f"the study {name!r} cannot be stored: {reason(error)}. Everything stored before is kept, and so is "
            "the last epoch of each running trial; fix that and continue with --resume."
        ) from error


def reason(error: BaseException) -> str:
    """Why a storage failed, in a line without passwords."""
    cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
    text = without_password(outage(error) or str(getattr(cause, "orig", None) or cause))
    if "database is locked" in text:
        text += " by another program, as optuna-dashboard, sqlite3 or a backup: close it"
    return text


def without_password(text: str) -> str:
    """A text with the passwords of all URLs in it blotted out."""
    return re.sub(r"(://[^/\s:@'\"]*:)\S*@", r"\1***@", text)


def _sqlite(folder: Path, name: str = DATABASE) -> URL:
    return URL.create("sqlite", database=str((folder / name).resolve()))


def parse_url(url: str) -> URL:
    """The URL of a storage.

    Raises:
        UsageError: It is none, or has a password where it would be shown.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UsageError(
            f"--storage is the URL of a database, as postgresql://user:password@host/name; {without_password(url)!r} "
            "is none."
        ) from error
    if hidden := [name for name in parsed.query if "pass" in name.lower()]:
        raise UsageError(
            "--storage: a password stands before the @, as postgresql://user:password@host/name, not in "
            f"{hidden[0]}=; it would be printed and stored there."
        )
    return parsed


def _connect(url: URL) -> optuna.storages.RDBStorage:
    kind: type[optuna.storages.RDBStorage] = Database
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.get_backend_name() == "sqlite":
        if url.database:
            check_local(Path(url.database))
        kind, options = optuna.storages.RDBStorage, _sqlite_options(url)
    elif url.get_driver_name().startswith("psycopg"):
        options["connect_args"] = {"connect_timeout": CONNECT_S}
    try:
        return kind(_for_optuna(url), engine_kwargs=options)
    except Exception as error:  # every driver has errors of its own
        shown, why = url.render_as_string(hide_password=True), reason(error)
        if url.password:
            why = why.replace(str(url.password), "***")
        if isinstance(error, ImportError):
            why += '; for postgresql+psycopg://, pip install "acmix-nas[postgres]"'
        raise StudyError(f"the storage {shown} cannot be used: {why}") from None


def _for_optuna(url: URL) -> str:
    """The URL as Optuna takes it: a template in braces, of characters that UTF-8 has."""
    if url.database is not None:
        url = url.set(database=url.database.encode("utf-8", "backslashreplace").decode())
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")


def _sqlite_options(url: URL) -> dict[str, Any]:
    """How SQLite is opened: a file by its path as it is, which as a part of a URL might be read otherwise."""
    if url.query or url.database in (None, "", ":memory:"):
        return {"connect_args": {"timeout": PATIENCE_S}}
    opened = partial(sqlite3.connect, url.database, timeout=PATIENCE_S, check_same_thread=False)
    return {"creator": opened}
