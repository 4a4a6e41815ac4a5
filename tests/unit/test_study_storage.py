"""Where a study is stored: databases by URL, passwords unseen, no SQLite on a network file system."""

import json
from dataclasses import replace

import optuna
import pytest
from report_records import make_failed, make_record
from search_pieces import Curves, essence, run, setting_of
from study_pieces import new_study

from acmix_nas.errors import StudyError, UsageError
from acmix_nas.front import values_of
from acmix_nas.record import StudyHeader
from acmix_nas.study import load, storage, stored
from acmix_nas.study.folder import ELSEWHERE, at_work, is_at_work
from acmix_nas.study.storage import find_storage, without_password
from acmix_nas.study.stored import SHARED, file_system
from acmix_nas.study.study import Study


def header(name: str = "far") -> StudyHeader:
    settings = {"random_starts": 2}
    return StudyHeader(name=name, kind="search", space="swin_t", host="swin", split="search", settings=settings)


def test_a_study_lives_in_the_database_that_its_url_names(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    studies = [Study.create(tmp_path, header(name), storage=url) for name in ("far", "near")]
    for study in studies:
        run(study, Curves(setting_of(1)), trials=3)
    assert not (studies[0].folder / "study.db").exists()
    again = Study.open(studies[0].folder, storage=url)
    assert essence(again) == essence(studies[0])
    assert set(optuna.get_all_study_names(url)) == {"far", "near"}
    with pytest.raises(StudyError, match=r"stored in .* not in sqlite:///other.db"):
        Study.open(studies[0].folder, storage="sqlite:///other.db")
    with pytest.raises(StudyError, match="has a study 'far' already"):
        Study.create(tmp_path / "elsewhere", header(), storage=url)


def test_a_renamed_folder_finds_its_study_among_others(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    studies = [Study.create(tmp_path, header(name), storage=url) for name in ("far", "near")]
    run(studies[0], Curves(setting_of(1)), trials=2)
    moved = studies[0].folder.rename(tmp_path / "a new name")
    assert essence(Study.open(moved, storage=url)) == essence(studies[0])
    kept = json.loads((moved / ELSEWHERE).read_text())
    (moved / ELSEWHERE).write_text(json.dumps({"url": kept["url"]}))  # as acmix 0.1 wrote it
    with pytest.raises(StudyError, match=r"has far, near, and none named 'a new name'; rename the folder"):
        Study.open(moved, storage=url)


@pytest.mark.parametrize("tables", [True, False])
def test_a_study_that_was_killed_before_its_header_is_begun_again(tmp_path, tables):
    folder = tmp_path / "far"
    folder.mkdir()
    if tables:  # as acmix 0.1 left it
        optuna.create_study(storage=f"sqlite:///{folder / 'study.db'}", study_name="far")
    else:
        (folder / "study.db").touch()
    with pytest.raises(StudyError, match="killed before it started; start it again"):
        Study.open(folder)
    study = Study.create(tmp_path, header())
    assert essence(study) == []
    with pytest.raises(StudyError, match="add --resume"):
        Study.create(tmp_path, header())


def test_a_study_with_a_trial_is_never_begun_again(tmp_path):
    folder = tmp_path / "far"
    folder.mkdir()
    optuna.create_study(storage=f"sqlite:///{folder / 'study.db'}", study_name="far").add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    before = (folder / "study.db").read_bytes()
    with pytest.raises(StudyError, match="exists"):
        Study.create(tmp_path, header())
    assert (folder / "study.db").read_bytes() == before


def test_a_killed_command_begins_its_study_in_another_database_again(tmp_path):
    url = f"sqlite:///{tmp_path / 'all.db'}"
    optuna.create_study(storage=url, study_name="far", directions=["maximize", "minimize"])
    with pytest.raises(StudyError, match="has a study 'far' already"):  # anybody's
        Study.create(tmp_path, header(), storage=url)
    assert not (tmp_path / "far").exists()

    (tmp_path / "far").mkdir()
    begun = tmp_path / "far" / f".{ELSEWHERE}.begun"
    begun.write_text("{}")
    study = Study.create(tmp_path, header(), storage=url)
    assert (essence(study), begun.exists()) == ([], False)
    (tmp_path / "far" / ELSEWHERE).replace(begun)  # the kill came after the header
    assert Study.create(tmp_path, header(), storage=url).header == header()
    (tmp_path / "far" / ELSEWHERE).replace(begun)
    with pytest.raises(StudyError, match="already"):
        Study.create(tmp_path, replace(header(), seed=1), storage=url)
    with pytest.raises(StudyError, match="there is no study"):
        Study.open(tmp_path / "far")


def test_what_a_study_needs_is_there_before_the_study(tmp_path):
    def fail(folder):
        assert not (folder / "study.db").exists()
        raise StudyError("no table")

    with pytest.raises(StudyError, match="no table"):
        Study.create(tmp_path, header(), fill=fail)
    assert not (tmp_path / "far").exists()
    study = Study.create(tmp_path, header(), fill=lambda folder: (folder / "latency.json").touch())
    assert (study.folder / "latency.json").is_file()


def test_a_password_is_neither_stored_nor_printed(tmp_path, monkeypatch):
    url = "postgresql+nodriver://me:s3cret@host/db"
    with pytest.raises(StudyError) as caught:
        Study.create(tmp_path, header(), storage=url)
    assert not (tmp_path / "far").exists()
    (tmp_path / "far").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(storage, "_connect", lambda _: None)
        patched.setattr(storage, "_begin", lambda *_: None)
        storage.make_storage(tmp_path / "far", url, header())
    kept = (tmp_path / "far" / ELSEWHERE).read_text()
    assert json.loads(kept)["url"] == "postgresql+nodriver://me:***@host/db"
    assert "s3cret" not in str(caught.value)
    monkeypatch.delenv("ACMIX_STORAGE", raising=False)
    with pytest.raises(StudyError, match="ACMIX_STORAGE"):
        find_storage(tmp_path / "far")
    line = f"acmix search --storage {url} --study 'a b'"
    assert without_password(line) == "acmix search --storage postgresql+nodriver://me:***@host/db --study 'a b'"
    assert without_password("sqlite:////tmp/x.db a@b") == "sqlite:////tmp/x.db a@b"


def test_a_malformed_url_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--storage is the URL"):
        Study.create(tmp_path, header(), storage="not a url")


def test_sqlite_on_a_network_file_system_is_refused(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    place = str(tmp_path / "far away").replace(" ", "\\040")
    mounts.write_text(f"none / ext4 rw 0 0\nserver:/x {place} nfs4 rw 0 0\n")
    monkeypatch.setattr(stored, "MOUNTS", mounts)
    assert file_system(tmp_path / "far away" / "deep" / "study.db") == "nfs4"
    assert file_system(tmp_path) == "ext4"
    with pytest.raises(StudyError, match=r"nfs4.*--storage"):
        Study.create(tmp_path / "far away", header())
    Study.create(tmp_path / "near", header())
    monkeypatch.setattr(stored, "MOUNTS", tmp_path / "none")
    assert file_system(tmp_path) is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "lustre", "beegfs", "ceph", "9p"])
def test_these_file_systems_are_shared(kind):
    assert SHARED.fullmatch(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "apfs", "zfs", "fuse.ext4"])
def test_these_are_not(kind):
    assert not SHARED.fullmatch(kind)


def test_whether_a_study_is_at_work_can_be_seen(tmp_path):
    study = new_study(tmp_path)
    assert not is_at_work(study.folder)
    with at_work(study.folder):
        assert is_at_work(study.folder)
    assert not is_at_work(study.folder)


def test_a_study_opens_in_optuna_with_its_metric_names(tmp_path):
    study = new_study(tmp_path)
    run(study, Curves(setting_of(1)), trials=2)
    plain = optuna.load_study(study_name="study", storage=f"sqlite:///{study.folder / 'study.db'}")
    assert plain.metric_names == ["top1", "macs"]
    assert all(trial.datetime_complete for trial in plain.trials)


def test_a_study_is_read_without_optuna_as_with_it(tmp_path):
    study = new_study(tmp_path)
    run(study, Curves(setting_of(1)), trials=3)
    study.start({}, {}, "running")
    study.pause(make_record(study.start({}, {}, "paused"), 0.5))
    study.finish(make_failed(study.start({}, {}, "failed")))
    study.finish(replace(make_record(study.start({}, {}, "pruned")), status="pruned"))
    optuna.create_study(study_name="other", storage=f"sqlite:///{study.folder / 'study.db'}")
    header, records = stored.read_sqlite(study.folder)
    assert (header, records) == (study.header, study.records()) == load(study.folder)
    assert [record.status for record in records] == ["complete"] * 3 + ["failed", "pruned"]
    with pytest.raises(StudyError, match="has study, other, and none named 'renamed'"):
        load(study.folder.rename(tmp_path / "renamed"))


def test_a_trial_with_the_record_of_another_is_refused_by_its_number(tmp_path):
    study = new_study(tmp_path)
    for number in (0, 7):
        record = make_record(number, 0.5 + number / 100)
        values = values_of(study.header.measures, record.score, record.cost)
        study.optuna.add_trial(optuna.trial.create_trial(values=values, user_attrs={"record": record.to_dict()}))
    with pytest.raises(StudyError, match="trial 1 holds the record of trial 7"):
        load(study.folder)
