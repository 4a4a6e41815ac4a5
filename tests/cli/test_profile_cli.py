import importlib
import json
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from acmix_nas.arch import CONV_IMPL
from acmix_nas.cli import acmix
from acmix_nas.cost import profile as profile_module
from acmix_nas.errors import AcmixError

doctor = importlib.import_module("acmix_nas.cli.doctor")
profile = importlib.import_module("acmix_nas.cli.profile")

ROW = {
    "form": "paper", "params": 28_290_000, "macs": 4_553_000_000, "macs_deploy": None, "macs_fvcore": 4_571_000_000,
    "macs_torch": 4_553_000_000, "latency_ms": 40.25, "latency_iqr_ms": 1.5, "throughput": 24.8, "peak_memory_mb": None,
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """What `profile_rows` was asked for, answered without measuring."""
    calls = []

    def answer(networks, *, impls, batch_sizes, input_size, device, progress):
        calls.append({"networks": networks, "impls": impls, "batch_sizes": batch_sizes, "device": device})
        progress("counting", 0, 2)
        env = {**profile_module.environment(device), "input_size": input_size, "dtype": "float32", "memory_format": "x"}
        rows = [
            {"model": networks[0].name, "impl": impl, "batch_size": size, **ROW}
            for impl in impls or (networks[0].impl,) for size in batch_sizes
        ]  # fmt: skip
        return {"device": str(device), "env": env, "rows": rows}

    monkeypatch.setattr(profile_module, "profile_rows", answer)
    return calls


def run(*arguments: str):
    return CliRunner().invoke(acmix, arguments)


def failure(*arguments: str) -> AcmixError:
    result = run(*arguments)
    assert isinstance(result.exception, AcmixError), result.output
    assert result.exception.exit_code == 2
    return result.exception


def test_the_defaults(asked):
    result = run("profile", "--device", "cpu")
    assert result.exit_code == 0, result.output
    [call] = asked
    assert call["networks"][0].name == "acmix_swin_tiny_patch4_window7_224"
    assert call["networks"][0].arch is not None
    assert (call["impls"], call["batch_sizes"], call["device"]) == ((), (1,), torch.device("cpu"))


def test_the_table_names_units_device_and_versions(asked):
    result = run("profile", "--impl", "groupconv", "--batch-size", "1,8")
    for heading in ("MACs (G)", "params (M)", "latency (ms)", "IQR (ms)", "throughput (img/s)", "peak memory (MB)"):
        assert heading in result.stdout
    assert "FLOP" not in result.stdout
    [first, second] = [line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["groupconv"]]
    assert first == ["groupconv", "1", "28.29", "4.553", "-", "4.571", "4.553", "40.25", "1.50", "24.8", "-"]
    assert second[:2] == ["groupconv", "8"]
    assert f"torch {torch.__version__.split('+')[0]}" in result.stdout
    assert "threads" in result.stdout


def test_all_implementations_and_json(asked):
    result = run("profile", "--impl", "all", "--json")
    assert asked[0]["impls"] == CONV_IMPL
    assert [row["impl"] for row in json.loads(result.stdout)["rows"]] == list(CONV_IMPL)


def test_an_arch_file_is_profiled_under_its_studys_name(asked, tmp_path):
    import yaml

    from acmix_nas.models import named_arch

    arch = named_arch("acmix_swin_tiny_patch4_window7_224")
    (tmp_path / "swin_t-001").mkdir()
    path = tmp_path / "swin_t-001" / "best.yaml"
    path.write_text(yaml.safe_dump({"arch_id": arch.id, "arch": arch.to_dict()}))
    assert run("profile", str(path)).exit_code == 0
    assert (asked[0]["networks"][0].name, asked[0]["networks"][0].arch) == ("swin_t-001/best", arch)


def test_a_model_of_timm_is_profiled(asked):
    assert run("profile", "resnet18").exit_code == 0
    assert asked[0]["networks"][0].arch is None


def test_an_unknown_model_is_one_message_with_close_names():
    message = str(failure("profile", "resnet_18"))
    assert "no model 'resnet_18'" in message
    assert "resnet18" in message


def test_a_missing_file_is_one_message(tmp_path):
    assert "cannot be read" in str(failure("profile", str(tmp_path / "none.yaml")))


def test_an_implementation_needs_a_convolution_path():
    message = str(failure("profile", "resnet18", "--impl", "full"))
    assert "resnet18 has no such path" in message


@pytest.mark.parametrize("sizes", ["0", "1,,2", "x", "1,-2", ""])
def test_wrong_batch_sizes_are_told(sizes):
    result = run("profile", "--batch-size", sizes)
    assert result.exit_code == 2
    assert "whole numbers from 1 up" in " ".join(result.stderr.split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told():
    assert "acmix doctor" in str(failure("profile", "--device", "cuda"))


def test_a_busy_machine_is_told(asked, monkeypatch):
    from acmix_nas.cost import environment

    monkeypatch.setattr(environment, "load", lambda: 7.5)
    monkeypatch.setattr(environment, "cores", lambda: 8)
    assert "the machine is busy: 7.5 running processes on 8 cores" in run("profile").stderr
    monkeypatch.setattr(environment, "load", lambda: 0.1)
    assert run("profile").stderr == ""


@pytest.mark.parametrize("command", ["profile", "doctor"])
def test_help_loads_nothing_heavy(command):
    code = (
        "import sys\n"
        "from acmix_nas.cli import acmix\n"
        f"acmix.main(['{command}', '--help'], standalone_mode=False)\n"
        "print(sorted({'torch', 'timm', 'numpy', 'optuna', 'fvcore'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert f"\n    acmix {command}\n" in done.stdout


def test_doctor_finds_this_machine_in_order(tmp_path):
    result = run("doctor", "--out", str(tmp_path / "not" / "yet"), "--json")
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 0, result.output
    assert checks["torch"]["detail"] == torch.__version__.split("+")[0]
    for name in ("cpu", "bf16 attention step", "output folder", "sqlite"):
        assert checks[name]["status"] == "ok"
    assert not (tmp_path / "not").exists()


def test_doctor_fails_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_FREE", 1e30)
    monkeypatch.setattr(doctor, "file_system_type", lambda folder: "nfs4")
    result = run("doctor", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "failed  output folder" in result.stdout
    assert "fix: free" in result.stdout
    assert "warning file system: nfs4, a network file system" in result.stdout


def test_the_deepest_mount_holds_a_folder(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\nproc /proc proc rw 0 0\n")
    assert doctor.file_system_type(tmp_path / "a", mounts) == "nfs4"
    assert doctor.file_system_type(tmp_path.parent, mounts) == "ext4"
    assert doctor.file_system_type(tmp_path, tmp_path / "none") is None


def test_the_default_model_exists():
    from acmix_nas.models import model_names

    assert profile.DEFAULT_MODEL in model_names()
