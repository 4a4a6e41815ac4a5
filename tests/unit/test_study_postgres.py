"""A study in PostgreSQL: its password nowhere, one driver at a time, and a server that goes away and comes back."""

import json
import threading
import time

import optuna
import pytest
import warm_commands
from click.testing import CliRunner
from postgres_server import PASSWORD, QUOTED, PostgresServer, missing
from search_pieces import Curves, essence, run, setting_of
from sqlalchemy.exc import OperationalError
from study_pieces import new_study
from test_study_storage import header

from acmix_nas.cli import acmix as command
from acmix_nas.errors import StudyError, UsageError
from acmix_nas.study.database import Database
from acmix_nas.study.study import Study

pytestmark = [pytest.mark.postgres, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture(scope="module")
def server():
    found = PostgresServer()
    yield found
    found.remove()


def typed(server, folder, *words) -> None:
    """Runs the command in a process of its own, the URL among its words."""
    done = warm_commands.run(*words, "--storage", server.url, cwd=folder)
    assert done.returncode == 0, done.stderr
    hidden(done.stdout + done.stderr)


def acmix(*words) -> str:
    """Runs the command in this process; its output."""
    done = CliRunner().invoke(command, words, standalone_mode=False)
    assert done.return_value in (None, 0), (done.output, done.exception)
    assert done.exception is None, done.output
    hidden(done.output)
    return done.output


def plainly(server, name):
    """States of a study's trials and its attributes, as Optuna alone reads them."""
    storage = optuna.storages.RDBStorage(server.url)
    found = optuna.load_study(study_name=name, storage=storage)
    states, attrs = [trial.state.name for trial in found.trials], found.user_attrs
    storage.engine.dispose()
    return states, attrs


def hidden(text: str) -> None:
    assert PASSWORD not in text
    assert QUOTED not in text


def test_a_study_in_postgres_from_search_to_finalists(server, tmp_path, monkeypatch):
    quick = ("--proxy", "cpu", "--epochs", "1", "--proxy-images", "32", "--device", "cpu", "--study", "far")
    typed(server, tmp_path, "search", "--space", "swin_t", "--trials", "1", *quick)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACMIX_STORAGE", server.url)
    acmix("search", "--space", "swin_t", "--trials", "2", "--resume", "--study", "far")
    assert "2 of 2" in acmix("status", "far")
    assert "2 of 2 trials complete" in acmix("report", "far")
    acmix("finalists", "far", "--top", "1", "--seeds", "1", "--hours", "0.00001")
    folder = tmp_path / "reports" / "far"
    assert not (folder / "study.db").exists()
    assert len((folder / "trials.jsonl").read_text().splitlines()) == 2
    for file in folder.rglob("*"):
        if file.is_file():
            hidden(file.read_bytes().decode(errors="replace"))
    states, attrs = plainly(server, "far")
    assert states == ["COMPLETE"] * 2
    hidden(json.dumps(attrs))


def test_a_refused_connection_is_reported_without_the_password(server, tmp_path):
    wrong = server.url.replace("acmix:", "nobody:")
    for url in (wrong, server.url.replace(str(server.port), "9")):
        with pytest.raises(StudyError) as caught:
            Study.create(tmp_path, header(f"far{len(url)}"), storage=url)
        hidden(str(caught.value))
    with pytest.raises(UsageError, match="before the @") as usage:
        Study.create(tmp_path, header("query"), storage=f"postgresql+psycopg://127.0.0.1/x?password={QUOTED}")
    hidden(str(usage.value))


def test_one_driver_at_a_time_also_with_two_folders(server, tmp_path):
    study = Study.create(tmp_path / "here", header("both"), storage=server.url)
    there = tmp_path / "there" / "both"
    there.mkdir(parents=True)
    (there / "storage.json").write_text((study.folder / "storage.json").read_text())
    other = Study.open(there, storage=server.url)
    with study.at_work():
        with pytest.raises(StudyError, match="in its database"), other.at_work():
            pass
        with Study.create(tmp_path, header("third"), storage=server.url).at_work():
            pass
    for _ in range(20):  # the lock is given back before the block ends
        with other.at_work():
            pass
        with study.at_work():
            pass


def test_a_database_that_is_gone_for_ten_seconds_costs_nothing(server, tmp_path):
    setting = setting_of(2)
    study = new_study(tmp_path, "away", storage=server.url)
    whole = new_study(tmp_path, "whole")
    run(whole, Curves(setting), trials=8)
    stopped = threading.Event()

    class Outage(Curves):
        def wait(self, on_step):
            if len(self.done) == 3:
                server.stop()
                stopped.set()
            return super().wait(on_step)

    def back() -> None:
        stopped.wait()
        time.sleep(10)
        server.start()

    thread = threading.Thread(target=back)
    thread.start()
    executor = Outage(setting)
    with study.at_work():
        run(study, executor, trials=8)
        thread.join()
        with pytest.raises(StudyError, match="in its database"), Database(server.url).alone(study._id):
            pass
    assert [number for number, _ in executor.done] == list(range(8))
    assert essence(study) == essence(whole)
    assert plainly(server, "away")[0] == ["COMPLETE"] * 8
    log = (study.folder / "log.txt").read_text()
    assert log.count("the database is unreachable") == 1
    assert log.count("the database is back") == 1
    hidden(log)


@pytest.mark.parametrize("call", ["create_new_trial", "set_trial_state_values"])
def test_an_answer_that_is_lost_stores_nothing_twice(server, tmp_path, monkeypatch, call):
    study = new_study(tmp_path, f"lost-{call}", storage=server.url)
    monkeypatch.setattr("acmix_nas.study.database.PAUSES_S", (0.0,))
    plain, lost = getattr(optuna.storages.RDBStorage, call), []

    def deaf(self, *args, **options):
        answer = plain(self, *args, **options)
        if len(lost) < 2:
            lost.append(answer)
            raise optuna.exceptions.StorageInternalError("gone") from ConnectionLostError(
                "SELECT", {}, Exception("gone")
            )
        return answer

    monkeypatch.setattr(optuna.storages.RDBStorage, call, deaf)
    run(study, Curves(setting_of(1)), trials=4)
    assert len(lost) == 2
    assert plainly(server, study.header.name)[0] == ["COMPLETE"] * 4
    assert [record.number for record in study.records()] == [0, 1, 2, 3]


class ConnectionLostError(OperationalError):
    """As the driver of a database says it."""
