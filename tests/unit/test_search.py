"""The search loop: never the same network twice, resumable to the same trials, every failure stored."""

import json
from dataclasses import replace

import optuna
import pytest
from study_pieces import SPACE, Onlooker, new_study, small_setting, tiny_space

from acmix_nas.errors import StudyError
from acmix_nas.samplers.make import decode, draw, encode
from acmix_nas.search import load, search
from acmix_nas.study.folder import at_work, newest_name, next_name, study_folder
from acmix_nas.study.settings import check_same
from acmix_nas.study.study import Study

WITHOUT_TIME = ("started", "seconds")


@pytest.fixture(scope="module")
def setting():
    return small_setting()


def essence(study):
    """What must repeat: everything but when and how long."""
    return [{k: v for k, v in record.to_dict().items() if k not in WITHOUT_TIME} for record in study.records()]


def test_a_search_trains_the_first_networks_and_no_network_twice(tmp_path, setting):
    study, onlooker = new_study(tmp_path), Onlooker()
    assert search(study, SPACE, setting, trials=6, callbacks=onlooker)
    records = study.records()
    assert [record.label for record in records] == [
        "plain host",
        "paper",
        "random",
        "random",
        "hamming-gp",
        "hamming-gp",
    ]
    assert onlooker.ended == list(range(6))
    assert len({record.arch_id for record in records}) == 6
    lines = (study.folder / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(record.to_json()) for record in records]


def test_a_study_opens_in_plain_optuna(tmp_path, setting):
    study = new_study(tmp_path)
    search(study, SPACE, setting, trials=3, callbacks=Onlooker())
    plain = optuna.load_study(study_name="study", storage=f"sqlite:///{study.folder / 'study.db'}")
    assert [trial.values for trial in plain.trials] == [[r.score, r.cost.macs] for r in study.records()]
    assert [direction.name for direction in plain.directions] == ["MAXIMIZE", "MINIMIZE"]
    values = [SPACE.values(record.arch) for record in study.records()]
    assert [decode(SPACE, trial.params) for trial in plain.trials] == values


def test_an_interrupted_search_resumes_to_what_it_would_have_been(tmp_path, setting):
    whole = new_study(tmp_path, "whole", seed=7)
    search(whole, SPACE, setting, trials=6, callbacks=Onlooker())
    parts = new_study(tmp_path, "parts", seed=7)
    with pytest.raises(KeyboardInterrupt):
        search(parts, SPACE, setting, trials=6, callbacks=Onlooker(interrupt_at=4))
    assert [record.number for record in parts.records()] == [0, 1, 2, 3]
    again = Onlooker()
    search(Study.open(parts.folder), SPACE, setting, trials=6, callbacks=again)
    assert again.begun[0] == (4, "hamming-gp")
    assert essence(parts) == essence(whole)


def test_another_seed_gives_other_networks(setting):
    empty = {"starts": 2, "history": [], "seen": (), "directions": ["maximize", "minimize"]}
    space = replace(SPACE, first={})
    assert draw(space, seed=0, **empty) == draw(space, seed=0, **empty)
    assert draw(space, seed=0, **empty) != draw(space, seed=1, **empty)


def test_a_search_ends_when_the_space_is_exhausted(tmp_path, setting):
    space = tiny_space()
    assert space.size == 6
    study = new_study(tmp_path)
    assert not search(study, space, setting, trials=20, callbacks=Onlooker())
    assert len({record.arch_id for record in study.records()}) == len(study.records()) == 6


def test_networks_with_the_same_proxy_are_trained_once(tmp_path, setting):
    """Windows of 5 and 7 are both cut to the 1 x 1 map of the proxy's last stage."""
    space = tiny_space(("att",), (32,))
    choice = replace(space.choices[0], name="stages.3.attn_kernel", options=(5, 7))
    fixed = tuple({k: v for k, v in f.items() if k != "attn_kernel" or s < 3} for s, f in enumerate(space.fixed))
    space = replace(space, choices=(choice,), fixed=fixed)
    study = new_study(tmp_path)
    search(study, space, setting, trials=2, callbacks=Onlooker())
    one, other = study.records()
    assert one.arch_id != other.arch_id
    assert (one.shared_with, other.shared_with) == (None, 0)
    assert other.scores == one.scores
    assert other.cost.params != one.cost.params


def test_a_failed_trial_is_stored_and_the_study_goes_on(tmp_path, setting):
    class Clumsy(Onlooker):
        def step(self, number, progress):
            if self.begun[-1][0] == 1:
                raise RuntimeError("a bug")

    study = new_study(tmp_path)
    search(study, SPACE, setting, trials=3, callbacks=Clumsy())
    assert [record.status for record in study.records()] == ["complete", "failed", "complete"]
    assert [trial.state.name for trial in study.trials()] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.records()[1].error == "RuntimeError: a bug"


def test_parameters_are_nominal_options_and_ordered_indices():
    values = SPACE.first["paper"]
    params, distributions = encode(SPACE, values)
    assert params["stages.0.combine"] == "learned"
    assert params["stages.0.conv_kernel"] == 0
    assert distributions["stages.0.conv_kernel"] == optuna.distributions.IntDistribution(0, 2)
    assert decode(SPACE, params) == values


def test_names_are_counted_up_and_checked(tmp_path):
    assert next_name(tmp_path, "swin_t") == "swin_t-001"
    new_study(tmp_path, "swin_t-007")
    assert next_name(tmp_path, "swin_t") == "swin_t-008"
    (tmp_path / "swin_t-009").mkdir()  # a kill came before anything was in it but a log
    (tmp_path / "swin_t-009" / "log.txt").touch()
    assert next_name(tmp_path, "swin_t") == "swin_t-008"
    assert newest_name(tmp_path, "swin_t") == "swin_t-007"
    for space, name in (
        ("my [own] space #1", "my-own-space-1-001"),
        ("é", "study-001"),
        ("x" * 300, "x" * 80 + "-001"),
    ):
        assert study_folder(tmp_path, next_name(tmp_path, space)).name == name
    with pytest.raises(StudyError, match="add --resume"):
        new_study(tmp_path, "swin_t-007")
    for bad in ("../up", "a/b", "", ".hidden", "x" * 200):
        with pytest.raises(StudyError, match="name"):
            study_folder(tmp_path, bad)


def test_a_study_belongs_to_one_process_at_a_time(tmp_path):
    study = new_study(tmp_path)
    with at_work(study.folder), pytest.raises(StudyError, match="another process"), at_work(study.folder):
        pass
    with at_work(study.folder):
        pass


def test_other_settings_are_refused_and_named(tmp_path):
    header = new_study(tmp_path, budget={"epochs": 2, "images": 100}).header
    check_same(header, {"budget": {"epochs": 2, "images": 100}})
    with pytest.raises(StudyError, match=r"budget\.epochs = 2, now it is 3"):
        check_same(header, {"budget": {"epochs": 3, "images": 100}})


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\x00" + b"\x00" * 100])
def test_a_broken_database_is_one_error(tmp_path, content):
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(StudyError, match="study"):
        load(tmp_path)
    with pytest.raises(StudyError, match="no study"):
        load(tmp_path / "none")
