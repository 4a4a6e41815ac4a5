"""What `acmix profile` refuses and warns of, without measuring anything."""

import subprocess
import sys

import pytest
import torch
from profile_pieces import failure, run

from acmix_nas import machine
from acmix_nas.experiments import profile
from acmix_nas.experiments.busy import warn_when_busy


def test_an_ablation_names_its_own_networks():
    assert "leave MODEL and --impl out" in str(failure("profile", "resnet18", "--ablation", "shift"))


def test_json_and_a_format_exclude_each_other():
    assert "take one of them" in str(failure("profile", "--json", "--format", "latex"))


@pytest.mark.parametrize(
    ("path", "message"), [("bars.gif", "ends in .svg, .png, .pdf"), ("none/bars.svg", "no folder")]
)
def test_an_unwritable_picture_is_refused_at_once(path, message, tmp_path):
    result = run("profile", "--plot", str(tmp_path / path))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("option", ["--cuda-graph", "--flush-l2"])
def test_what_needs_a_gpu_is_one_error_on_a_cpu(option):
    assert f"{option} needs a CUDA device" in str(failure("profile", option, "--device", "cpu"))


@pytest.mark.parametrize(
    ("option", "value"), [("--impl", "fast"), ("--dtype", "int8"), ("--form", "fast"), ("--by", "x")]
)
def test_an_unknown_value_is_one_error_with_the_known_ones(option, value):
    result = run("profile", option, value)
    assert result.exit_code == 2
    assert f"'{value}' is not one of" in " ".join(result.stderr.split())


@pytest.mark.parametrize("size", ["0", "x", "224x", "1x2x3", "-5"])
def test_a_wrong_input_size_is_refused(size):
    result = run("profile", f"--input-size={size}")
    assert result.exit_code == 2
    assert "a height, or a height and a width" in " ".join(result.stderr.split())


def test_merged_implementations_are_refused_with_the_reason():
    message = str(failure("profile", "--impl", "shift", "--impl", "full", "--form", "merged", "--device", "cpu"))
    assert "into one convolution" in message
    assert "--form paper" in message


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
def test_wrong_batch_sizes_are_refused(sizes):
    result = run("profile", "--batch-size", sizes)
    assert result.exit_code == 2
    assert "whole numbers from 1 up" in " ".join(result.stderr.split())


def test_a_busy_gpu_is_reported(monkeypatch):
    monkeypatch.setattr(machine, "busy_cores", lambda: None)
    monkeypatch.setattr(machine, "gpu_state", lambda device: {"utilization.gpu": "35"})
    warned = []
    assert warn_when_busy("cuda", warned.append) == {"busy_cores": None, "busy_gpu_percent": 35.0}
    assert "other processes keep the GPU busy for 35 % of the time" in warned[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "words",
    [
        ("profile", "resnet18"),
        ("latency", "--space", "swin_t", "--out", "table.json"),
        ("train", "acmix_resnet26"),
        ("search", "--space", "swin_t"),
        ("ablate", "combine"),
        ("data", "fidelity", "--space", "swin_t"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused_by_every_command(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "--device cuda: torch sees no CUDA device here" in str(failure(*words, "--device", "cuda"))
    assert not list(tmp_path.iterdir())


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


def test_the_default_model_exists():
    from acmix_nas.models import model_names

    assert profile.DEFAULT_MODEL in model_names()
