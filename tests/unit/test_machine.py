import multiprocessing
import platform
import resource
import subprocess
from types import SimpleNamespace

import fork_server
import pytest
import torch

from acmix_nas import machine
from acmix_nas.cost.environment import environment

CUDA = torch.device("cuda", 1)


@pytest.fixture
def smi(monkeypatch):
    """nvidia-smi that answers with what it is given, and what it was asked."""
    answers, asked = [], []

    def run(command, **_):
        asked.append(command)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(stdout=answer)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12-ab"))
    return answers, asked


def test_the_state_of_a_gpu_is_read_by_its_identity(smi):
    answers, asked = smi
    answers.append("1410, 1980, 3, 580.65\n")
    assert machine.gpu_state(CUDA) == {
        "clocks.sm": "1410",
        "clocks.max.sm": "1980",
        "utilization.gpu": "3",
        "driver_version": "580.65",
    }
    assert asked[0][0] == "nvidia-smi"
    assert "--id=GPU-12-ab" in asked[0]


@pytest.mark.parametrize(
    "answer", [FileNotFoundError("nvidia-smi"), subprocess.TimeoutExpired("nvidia-smi", 10), "no devices\n"]
)
def test_what_nvidia_smi_does_not_say_is_none(smi, answer):
    smi[0].append(answer)
    assert set(machine.gpu_state(CUDA).values()) == {None}


def test_a_single_hidden_field_is_none(smi):
    smi[0].append("[N/A], 1980, [Not Supported], 580.65\n")
    state = machine.gpu_state(CUDA)
    assert (state["clocks.sm"], state["utilization.gpu"], state["clocks.max.sm"]) == (None, None, "1980")


@pytest.mark.parametrize(
    ("idle", "loaded", "locked"), [("345", "1980", False), ("1410", "1410", True), (None, "1410", None)]
)
def test_clocks_that_idling_lowers_are_not_locked(idle, loaded, locked):
    state = {"clocks.sm": loaded, "clocks.max.sm": "1980", "utilization.gpu": "0", "driver_version": "580"}
    clocks = machine.gpu_clocks({**state, "clocks.sm": idle}, state)
    assert clocks["clocks_locked"] is locked
    assert (clocks["sm_clock_idle_mhz"], clocks["sm_clock_loaded_mhz"], clocks["sm_clock_max_mhz"]) == (
        idle,
        loaded,
        "1980",
    )


def test_governor_and_locked_clocks_of_the_processor(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUFREQ", tmp_path)
    assert machine.cpu_clocks() == {"governor": None, "clocks_locked": None}
    (tmp_path / "scaling_governor").write_text("performance\n")
    (tmp_path / "scaling_min_freq").write_text("2000000\n")
    (tmp_path / "scaling_max_freq").write_text("3000000\n")
    assert machine.cpu_clocks() == {"governor": "performance", "clocks_locked": False}
    (tmp_path / "scaling_max_freq").write_text("2000000\n")
    assert machine.cpu_clocks()["clocks_locked"] is True


def test_the_cores_that_others_keep_busy_are_those_of_the_moment(monkeypatch, tmp_path):
    import os

    stat, ticks = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    stat.write_text("cpu 100 0 50 9000 10 1 1 0 0 0\ncpu0 1\n")
    monkeypatch.setattr(machine, "STAT", stat)

    def sleep(seconds):
        worked = round(1.5 * seconds * ticks)
        stat.write_text(f"cpu {100 + worked} 0 50 {9000 + worked} 10 1 1 0 0 0\ncpu0 1\n")

    assert machine.busy_cores(sleep) == pytest.approx(1.5, abs=0.05)
    monkeypatch.setattr(machine, "STAT", tmp_path / "none")
    assert machine.busy_cores(lambda seconds: None) is None


def test_the_environment_says_what_a_number_depends_on():
    env = environment("cpu")
    for key in (
        "device_name",
        "threads",
        "cores",
        "load",
        "governor",
        "clocks_locked",
        "tf32_matmul",
        "tf32_cudnn",
        "cudnn_benchmark",
    ):
        assert key in env
    assert env["threads"] == torch.get_num_threads()
    assert env["torch"] == torch.__version__.split("+")[0]


def faults_of_steps() -> int:
    """Pages that a process is given while it takes and frees three times 30 MB again and again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        held = [torch.full((30 * 2**18,), 1.0) for _ in range(3)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def keeping(connection) -> None:
    given_back = faults_of_steps()
    machine.keep_freed_memory()
    connection.send((given_back, faults_of_steps()))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_process_keeps_what_it_frees():
    ours, theirs = multiprocessing.Pipe()
    fork_server.start(keeping, theirs)
    given_back, kept = ours.recv()
    pages = 3 * 30 * 2**20 // resource.getpagesize()
    assert kept < 4 * pages
    assert given_back > 2 * kept
