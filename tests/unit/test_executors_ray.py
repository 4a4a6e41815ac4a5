"""The Ray executor: the same trials as everywhere, on nodes that come and go and have nothing of the driver's."""

import os
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import warm_commands
from search_pieces import essence
from study_pieces import SPACE, Onlooker, new_study, small_setting

from acmix_nas.data import load_splits
from acmix_nas.errors import DataError, StudyError, UsageError
from acmix_nas.executors import Place, Work, _ray_cluster, make_executor
from acmix_nas.executors._node_folder import NodeFolder, arrays_of, facts_of, load_kept, load_same
from acmix_nas.executors._start import environment_variables
from acmix_nas.executors.placement import check_placement, place_workers
from acmix_nas.search import Stop, search

IMAGES, SCORED = 24, 30
LOAD = partial(load_splits, None, input_size=28, train_images=IMAGES, seed=0, with_report=False, search_images=SCORED)
NOWHERE = partial(load_splits, "/not/here", **LOAD.keywords)


def setting_with(epochs: int):
    return replace(small_setting(images=IMAGES, epochs=epochs), splits=LOAD())


def work_of(setting, **facts) -> Work:
    return replace(Work.of(setting, load=LOAD, source=None), **facts)


QUICK = ("--epochs", "1", "--proxy", "cpu", "--study", "demo", "--device", "cpu")


def acmix(folder, *words, begin=("-m", "acmix_nas"), **env):
    """Runs the command in a folder, two threads to divide."""
    root = str(Path(__file__).parent.parent.parent)
    env = {**os.environ, "OMP_NUM_THREADS": "2", "ACMIX_TEST_MARK": "1", "PYTHONPATH": root, **env}
    return subprocess.run([sys.executable, *begin, *words], cwd=folder, env=env, capture_output=True, text=True)


def comparable(study) -> list[dict]:
    """What does not depend on the process that trained."""
    return [{name: value for name, value in row.items() if name != "environment"} for row in essence(study)]


def test_options_that_ray_cannot_follow_are_refused_before_a_study_is_made(monkeypatch):
    check = partial(check_placement, gpus=None)
    with pytest.raises(UsageError, match="--executor ray"):
        check("process", ray_address="host:6379")
    for address in ("ray://host:10001", "host", "host:port"):
        with pytest.raises(UsageError, match="HOST:PORT"):
            check("ray", ray_address=address)
    begun_s = time.monotonic()
    with pytest.raises(UsageError, match="nothing listens there"):
        check("ray", ray_address="127.0.0.1:9")
    assert time.monotonic() - begun_s < 2 * _ray_cluster.CONNECT_S
    with pytest.raises(UsageError, match="Ray chooses"):
        check_placement("ray", ray_address=None, gpus="0")
    monkeypatch.setattr(_ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "acmix-nas\[ray\]"') as missing:
        check("ray", ray_address=None)
    assert missing.value.exit_code == 2


def test_ray_reserves_what_a_worker_needs(monkeypatch):
    name, places = place_workers(device="cpu", executor="ray", workers=3, gpus=None, workers_per_gpu=1)
    assert (name, [place.gpus for place in places]) == ("ray", [0, 0, 0])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ask = partial(place_workers, device="cuda", executor="ray", gpus=None)
    assert [place.gpus for place in ask(workers=None, workers_per_gpu=2)[1]] == [0.5] * 4
    assert [place.gpus for place in ask(workers=5, workers_per_gpu=1)[1]] == [1] * 5


def test_images_that_were_sent_are_the_images(tmp_path):
    splits = LOAD()
    one, other = NodeFolder("run", tmp_path), NodeFolder("run", tmp_path)
    fetched = []

    def fetch():
        fetched.append(True)
        return arrays_of(splits)

    folders = {one.keep(fetch), other.keep(fetch)}
    assert len(folders) == len(fetched) == 1
    kept = load_kept(folders.pop(), facts_of(splits))
    for part in ("train", "search"):
        assert torch.equal(getattr(kept, part).images, getattr(splits, part).images)
        assert torch.equal(getattr(kept, part).targets, getattr(splits, part).targets)
    assert replace(kept, train=splits.train, search=splits.search) == splits
    one.leave()
    assert other.path.is_dir()
    other.leave()
    assert not other.path.exists()


def test_a_folder_of_the_dead_goes_when_another_comes(tmp_path):
    (tmp_path / "killed" / "images").mkdir(parents=True)
    (tmp_path / "killed" / "alive").touch()
    living = NodeFolder("living", tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["living"]
    living.leave()


def test_other_images_under_the_same_path_are_refused():
    assert load_same(LOAD, LOAD().fingerprint).fingerprint == LOAD().fingerprint
    with pytest.raises(DataError, match="others than the driver's"):
        load_same(LOAD, "0" * 16)


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two nodes on this machine; the second has what tests ask for."""
    with environment_variables(_ray_cluster.SETTINGS), warnings.catch_warnings(action="ignore"):
        import ray
        from ray.cluster_utils import Cluster

        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        ray.init(address=found.address, log_to_driver=False, logging_level="CRITICAL")
    yield found
    with warnings.catch_warnings(action="ignore"):
        ray.shutdown()
        found.shutdown()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
class TestRayExecutor:
    """With a real Ray, started once."""

    @pytest.mark.nightly
    def test_one_worker_gives_the_trials_of_every_executor(self, cluster, tmp_path):
        setting = setting_with(2)
        studies = {}
        for name in ("serial", "process", "ray"):
            # A source that is not there is what a node sees of another's images: they are sent.
            facts = {"load": NOWHERE, "source": "/not/here"} if name == "ray" else {}
            study = studies[name] = new_study(tmp_path, name)
            executor = make_executor(name, work_of(setting, **facts), [Place(1)])
            search(study, SPACE, setting, trials=2, callbacks=Onlooker(), executor=executor)
        assert len(studies["ray"].records()) == 2
        assert comparable(studies["process"]) == comparable(studies["serial"])
        assert comparable(studies["ray"]) == comparable(studies["serial"])
        assert not (studies["ray"].folder / "checkpoints").exists()

    @pytest.mark.nightly
    def test_two_ranks_on_a_node_train_what_one_process_does(self, cluster, tmp_path):
        setting, records = setting_with(2), []
        for name, place in (("serial", Place(1)), ("ray", Place(2, world_size=2))):
            study = new_study(tmp_path, name)
            executor = make_executor(name, work_of(setting), [place])
            search(study, SPACE, setting, trials=1, callbacks=Onlooker(), executor=executor)
            records += study.records()
        alone, together = records
        assert together.losses == pytest.approx(alone.losses, rel=1e-4)
        assert together.environment["processes"] == 2

    @pytest.mark.nightly
    def test_a_node_that_is_removed_costs_at_most_the_running_epoch(self, cluster, tmp_path):
        setting = setting_with(4)
        node = cluster.add_node(num_cpus=3)
        study = new_study(tmp_path)

        class Remover(Onlooker):
            removed = False
            seen: list[int]

            def step(self, number, progress) -> None:
                self.seen = [*getattr(self, "seen", []), len(progress.scores)]
                if not self.removed and len(progress.scores) >= 2:
                    self.removed = True
                    cluster.remove_node(node, allow_graceful=False)
                    cluster.add_node(num_cpus=3)

        # Three CPUs are on the second node alone.
        callbacks = Remover()
        executor = make_executor("ray", work_of(setting), [Place(3)])
        search(study, SPACE, setting, trials=1, callbacks=callbacks, executor=executor)
        (trial,) = study.trials()
        assert trial.user_attrs["workers_lost"] == 1
        assert study.records()[0].status == "complete"
        assert len(study.records()[0].scores) == 4
        assert not {0, 1} & set(callbacks.seen[callbacks.seen.index(2) + 1 :])

    @pytest.mark.nightly
    def test_jobs_stop_after_their_epoch_and_go_on_elsewhere(self, cluster, tmp_path):
        setting = setting_with(8)
        study, stop = new_study(tmp_path), Stop()

        class Impatient(Onlooker):
            def step(self, number, progress) -> None:
                stop.reason = "enough"

        search(
            study,
            SPACE,
            setting,
            trials=2,
            callbacks=Impatient(),
            executor=make_executor("ray", work_of(setting), [Place(1), Place(1)]),
            stop=stop,
        )
        running = study.running()
        assert running
        assert any(study.checkpoint(trial.number).is_file() for trial in running)
        search(study, SPACE, setting, trials=2, callbacks=Onlooker())
        alone = new_study(tmp_path, "alone")
        search(alone, SPACE, setting, trials=2, callbacks=Onlooker())
        assert [record.scores for record in study.records()] == [record.scores for record in alone.records()]

    @pytest.mark.nightly
    def test_the_command_joins_a_cluster_by_its_address(self, cluster, on_few_images, tmp_path):
        words = ["--executor", "ray", "--ray-address", cluster.address, "--trials", "1", "--proxy-images", "16"]
        done = acmix(tmp_path, "search", "--space", "swin_t", *QUICK, *words, **_ray_cluster.SETTINGS)
        assert done.returncode == 0, done.stderr
        assert "1 of 1 trials complete" in done.stdout
        assert not list((tmp_path / "reports" / "demo").glob("checkpoints"))
        url = "postgresql+psycopg://me:s3cret@host/db"
        done = warm_commands.run("search", "--space", "swin_t", *words, "--storage", url, cwd=tmp_path)
        assert done.returncode == 2
        assert "ACMIX_STORAGE" in done.stderr
        assert "s3cret" not in done.stderr

    @pytest.mark.nightly
    def test_placement_that_no_node_can_hold_is_refused(self, cluster, tmp_path):
        setting = setting_with(1)
        executor = make_executor("ray", work_of(setting), [Place(500)])
        with pytest.raises(StudyError, match="no node of the Ray cluster has 500 CPUs"):
            search(new_study(tmp_path), SPACE, setting, trials=1, callbacks=Onlooker(), executor=executor)

    @pytest.mark.nightly
    def test_images_that_a_node_cannot_read_end_the_study_with_a_reason(self, cluster, tmp_path):
        setting = setting_with(1)
        executor = make_executor("ray", work_of(setting, load=NOWHERE), [Place(1)])
        with pytest.raises(StudyError, match="there is no folder"):
            search(new_study(tmp_path), SPACE, setting, trials=1, callbacks=Onlooker(), executor=executor)


@pytest.mark.ray
def test_non_ray_server_at_address_is_reported_within_timeout(monkeypatch):
    monkeypatch.setattr(_ray_cluster, "ANSWER_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        _ray_cluster.check_address(address)
        with pytest.raises(StudyError, match="is no Ray"):
            _ray_cluster._check_ray_answers(address)


WATCHED = """
import threading, time
from pathlib import Path
from acmix_nas.cli import main

def sockets(process):
    try:
        if b"ACMIX_TEST_MARK" in (process / "environ").read_bytes():
            return [str(file.readlink()) for file in (process / "fd").iterdir()]
    except OSError:
        pass
    return []

def listening(seen=set()):
    while True:
        own = {name for process in Path("/proc").glob("[0-9]*") for name in sockets(process)}
        for table in ("tcp", "tcp6"):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and f"socket:[{words[9]}]" in own:
                    seen.add(words[1].split(":")[0])
        Path("listening.txt").write_text(" ".join(sorted(seen)))
        time.sleep(1)

threading.Thread(target=listening, daemon=True).start()
main()
"""


@pytest.mark.ray
@pytest.mark.nightly
def test_the_command_starts_ray_on_loopback_alone_and_says_nothing_of_it(on_few_images, tmp_path):
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)
    words = ["search", "--space", "swin_t", "--executor", "ray", "--workers", "1", "--trials", "1", *QUICK]
    done = acmix(tmp_path, *words, "--proxy-images", "16", begin=("-W", "error::FutureWarning", str(script)))
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("  acmix ")]  # the next commands name it
    assert "ray" not in "\n".join(said).lower()
    addresses = set((tmp_path / "listening.txt").read_text().split())
    assert addresses
    loopback = "0100007F"  # 127.0.0.1 as the kernel writes it
    assert addresses <= {loopback, f"{'0' * 16}FFFF0000{loopback}"}
    repeated = warm_commands.run("repeat", "demo:0", cwd=tmp_path)
    assert repeated.returncode == 0, repeated.stderr
    assert "and every score before it (1 in all) the same" in repeated.stdout
