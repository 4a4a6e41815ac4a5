"""`acmix doctor`: what it finds here, and what it says where something is wrong."""

import json

import pytest
import torch
from profile_pieces import run

from acmix_nas.experiments import doctor
from acmix_nas.train import gradients


def test_doctor_finds_this_machine_in_order(tmp_path):
    result = run("doctor", "--out", str(tmp_path / "not" / "yet"), "--json")
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 0, result.output
    assert checks["torch"]["detail"] == torch.__version__.split("+")[0]
    for name in ("cpu", "bf16 attention step", "gradients on cpu", "output folder", "sqlite"):
        assert checks[name]["status"] == "ok"
    assert not (tmp_path / "not").exists()
    assert "fp32, bf16, contiguous and channels_last, are float64's up to" in checks["gradients on cpu"]["detail"]


@pytest.fixture(scope="module")
def compared() -> dict[bool, list]:
    """What `compare_gradients` finds here, with and without training's guard; it takes seconds."""
    return {guarded: list(gradients.compare_gradients("cpu", guarded=guarded)) for guarded in (True, False)}


@pytest.fixture
def compared_before(compared, monkeypatch):
    monkeypatch.setattr(gradients, "compare_gradients", lambda device, *, guarded=True: iter(compared[guarded]))


@pytest.mark.nightly
@pytest.mark.usefixtures("compared_before")
def test_doctor_names_the_gradient_that_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setitem(gradients.TOLERANCE, "bf16", 1e-9)
    result = run("doctor", "--out", str(tmp_path))
    assert result.exit_code == 1
    line = next(line for line in result.stdout.splitlines() if "gradients on cpu" in line)
    assert line.startswith("failed")
    assert "bf16, " in line
    assert "gradient of a convolution of " in line


@pytest.mark.nightly
@pytest.mark.usefixtures("compared_before")
def test_doctor_says_which_kernels_training_does_without(tmp_path, monkeypatch):
    """On a CPU with AVX-512 torch's own are wrong; here what it says is tried with one that is."""
    real = gradients.compare_gradients

    def broken(device, *, guarded=True):
        for one in real(device, guarded=guarded):
            is_one = not guarded and one.precision == "bf16" and one.convolution.map_size == 1
            yield one._replace(error=float("inf")) if is_one else one

    monkeypatch.setattr(gradients, "compare_gradients", broken)
    result = run("doctor", "--out", str(tmp_path))
    assert result.exit_code == 0
    convolution = "3 x 3 with stride 2 on 1 x 1 maps of 16 channels"
    said = f"torch's own gradient of a convolution of {convolution} is inf times its size off in bf16"
    assert f"{said}, so training computes it in fp32" in result.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("compared_before")
def test_doctor_fails_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_FREE", 1e30)
    monkeypatch.setattr(doctor, "file_system", lambda folder: "nfs4")
    result = run("doctor", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "failed  output folder" in result.stdout
    assert "fix: free" in result.stdout
    assert "warning file system: nfs4, a network file system" in result.stdout
