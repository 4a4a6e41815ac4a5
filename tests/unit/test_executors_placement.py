"""How many workers a study takes on a CPU, and with how many threads."""

from dataclasses import replace

import pytest
from study_pieces import SPACE

from acmix_nas.executors import placement
from acmix_nas.executors.callbacks import ExperimentCallbacks
from acmix_nas.executors.placement import place_workers, usual_workers, workers_text
from acmix_nas.experiments import fidelity, search

PROXY = replace(SPACE.proxies["cpu"], epochs=2, images=5000)


@pytest.fixture(autouse=True)
def eight_threads(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    monkeypatch.setattr(placement, "free_bytes", lambda: 64e9)


def usual(proxy=PROXY, trainings=60, at_once=60) -> int:
    return usual_workers(proxy, SPACE.widths, trainings=trainings, at_once=at_once)


def test_a_thread_each_but_no_more_than_can_train_at_once():
    assert usual() == 8
    assert usual(at_once=4) == 4
    places = place_workers(device="cpu", executor=None, workers=4, gpus=None, workers_per_gpu=1)[1]
    assert [place.threads for place in places] == [2] * 4
    assert workers_text("cpu", places) == "workers: 4 with 2 threads each"


def test_a_study_of_seconds_starts_no_process():
    assert usual(replace(PROXY, images=64, epochs=1), trainings=12) == 1
    assert usual(replace(PROXY, images=None), trainings=1) == 8, "all images of a source may be many"


def test_memory_may_be_short(monkeypatch):
    monkeypatch.setattr(placement, "free_bytes", lambda: 3e9)
    assert 1 < usual() < 8
    large = replace(PROXY, input_size=224, batch_size=1024, width=1.0)
    assert usual(large) == 1
    monkeypatch.setattr(placement, "free_bytes", lambda: None)
    assert usual(large) == 8, "the system does not say"


class Heard(ExperimentCallbacks):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.slow
def test_a_search_takes_them_by_itself_and_says_so(tmp_path, few_images, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    monkeypatch.setattr(placement, "WORTH_PROCESSES", 0)
    asked = {"space": "swin_t", "data": str(few_images), "epochs": 1, "proxy_images": 16, "out": tmp_path}
    callbacks = Heard()
    result = search.run(search.SearchOptions(trials=6, **asked), callbacks)
    assert "workers: 2 with 1 thread each" in callbacks.said
    assert result.header.settings["lag"] == 2
    assert {record.environment["threads"] for record in result.records} == {1}
    alone = Heard()
    search.run(search.SearchOptions(trials=2, workers=1, **asked), alone)
    assert "workers: 1 with 2 threads each" in alone.said


@pytest.mark.nightly
def test_fidelity_is_the_same_with_two_workers(tmp_path, few_images, monkeypatch):
    asked = {"space": "swin_t", "data": str(few_images), "epochs": 1, "proxy_images": 16, "archs": 4}
    found = [
        fidelity.run(fidelity.FidelityOptions(out=tmp_path / str(count), workers=count, **asked))[0] for count in (1, 2)
    ]
    assert found[0] == found[1]
