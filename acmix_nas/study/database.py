"""A database server behind a study: away for a while it is waited for, and one driver at a time writes."""

import copy
import logging
import secrets
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from acmix_nas.errors import StudyError

log = logging.getLogger(__name__)

AWAY_S = 600
"""So long a database may be away."""
PAUSES_S = (0.5, 1.0, 2.0, 5.0)
LOCK_CLASS = 0x61636D78
"""First number of our advisory locks ("acmx"); the second is the study's."""
LOCK_S = 60
"""How long a server may hold the lock of a connection that broke."""
TOKEN = "acmix:token"

Result = TypeVar("Result")


class Database(optuna.storages.RDBStorage):
    """An RDB storage on a server, whose calls wait while the server is away.

    What was stored before a connection broke is found again and not stored twice.
    """

    _study: int | None = None
    _lock: Connection | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        weakref.finalize(self, self.engine.dispose)  # connections that are only forgotten stay open on the server

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Adds a trial; it bears a token, so that it is known again if the answer was lost."""
        assert template_trial is not None
        marked, token = copy.copy(template_trial), secrets.token_hex(8)
        marked.system_attrs = {**marked.system_attrs, TOKEN: token}
        tried = False

        def create() -> int:
            nonlocal tried
            if tried:
                for trial in super(Database, self).get_all_trials(study_id, deepcopy=False):
                    if trial.system_attrs.get(TOKEN) == token:
                        return int(trial._trial_id)
            tried = True
            return int(super(Database, self).create_new_trial(study_id, marked))

        return self._patiently(create)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Ends a trial; one that was ended before the answer was lost stays so."""

        def end() -> bool:
            stored = super(Database, self).get_trial(trial_id)
            if stored.state == state and state.is_finished():
                return True
            return bool(super(Database, self).set_trial_state_values(trial_id, state, values))

        return self._patiently(end)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Sets a value of a trial."""
        self._patiently(lambda: super(Database, self).set_trial_user_attr(trial_id, key, value))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Sets a value of a study."""
        self._patiently(lambda: super(Database, self).set_study_user_attr(study_id, key, value))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """The values of a study."""
        return self._patiently(lambda: dict(super(Database, self).get_study_user_attrs(study_id)))

    def _get_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        # What Optuna's cache reads trials with.
        return self._patiently(lambda: list(super(Database, self)._get_trials(*args, **options)))

    @contextmanager
    def alone(self, study_id: int) -> Iterator[None]:
        """Holds the study for this process, as far as the kind of database has such locks: PostgreSQL does.

        Raises:
            StudyError: Another process holds it.
        """
        if self.engine.dialect.name != "postgresql":
            yield
            return
        self._study = study_id
        try:
            if not self._take_lock():
                raise StudyError("another process is working on this study in its database; wait for it or stop it.")
            yield
        finally:
            self._give_lock_back()
            self._study = None
            self._drop_lock_connection()

    def _patiently(self, call: Callable[[], Result]) -> Result:
        """Calls until the database answers."""
        end_s, tries = time.monotonic() + AWAY_S, 0
        while True:
            try:
                if tries:
                    self._hold_on()
                result = call()
            except Exception as error:
                reason = outage(error)
                if reason is None:
                    raise
                if time.monotonic() > end_s:
                    raise StudyError(
                        f"the database has been unreachable for {AWAY_S} s ({reason}). Everything stored is kept; "
                        "continue with --resume when it is back."
                    ) from None
                if not tries:
                    log.warning("the database is unreachable (%s); waiting for it", reason)
                time.sleep(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
                tries += 1
            else:
                if tries:
                    log.info("the database is back")
                return result

    def _hold_on(self) -> None:
        """Takes the lock again, if it was lost with its connection."""
        if self._study is None:
            return
        try:
            assert self._lock is not None
            self._lock.execute(text("SELECT 1"))
        except (DBAPIError, AssertionError):
            end_s = time.monotonic() + LOCK_S
            while not self._take_lock():
                if time.monotonic() > end_s:
                    raise StudyError(
                        "while the database was unreachable, another process took over this study; this one stops."
                    ) from None
                time.sleep(1)

    def _take_lock(self) -> bool:
        self._drop_lock_connection()
        self._lock = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        asked = text("SELECT pg_try_advisory_lock(:kind, :study)")
        return bool(self._lock.execute(asked, {"kind": LOCK_CLASS, "study": self._study}).scalar())

    def _give_lock_back(self) -> None:
        """Gives the lock back now: of a connection that is closed the server does so a moment later."""
        if self._lock is not None:
            with suppress(DBAPIError):
                given = text("SELECT pg_advisory_unlock(:kind, :study)")
                self._lock.execute(given, {"kind": LOCK_CLASS, "study": self._study})

    def _drop_lock_connection(self) -> None:
        if self._lock is not None:
            self._lock.invalidate()  # closed for good, which gives the lock back
            self._lock.close()
            self._lock = None


def outage(error: BaseException) -> str | None:
    """One line on why the database is away; None if the error is another one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OperationalError | InterfaceError) or getattr(cause, "connection_invalidated", False):
            lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
            return lines[0] if lines else type(cause).__name__
        cause = cause.__cause__
    return None
