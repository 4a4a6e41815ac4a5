import json
import subprocess
import types

import pytest
import torch
from torch import nn

from acmix_nas.cost import memory
from acmix_nas.cost.execution import Execution, make_step
from acmix_nas.cost.network import Network

RESNET = Network(name="resnet18")
HOW = Execution(dtype="bfloat16", form="merged", channels_last=False)
WEIGHTS_MB = 11_689_512 * 4 / 1e6

needs_proc = pytest.mark.skipif(not (memory.PROC / "clear_refs").exists(), reason="needs Linux's /proc")


@needs_proc
@pytest.mark.parametrize(
    ("how", "least", "most"),
    [
        pytest.param(Execution(), 1, 3, marks=pytest.mark.nightly),
        pytest.param(Execution(dtype="bfloat16"), 0.5, 1.5, marks=pytest.mark.nightly),
        (Execution(train=True), 2, 6),
    ],
)
def test_the_peak_holds_weights_and_activations_and_with_training_gradients(how, least, most):
    peak_mb = memory.peak_cpu_mb(RESNET, batch_size=2, input_size=(64, 64), how=how)
    if peak_mb is None:
        pytest.skip("this system does not let /proc/self/clear_refs be written")
    assert least * WEIGHTS_MB < peak_mb < most * WEIGHTS_MB


def test_no_account_of_memory_gives_none(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PROC", tmp_path)
    assert memory.peak_cpu_mb(RESNET, batch_size=1, input_size=(32, 32), how=Execution()) is None


@needs_proc
def test_the_memory_process_gets_all_options_and_its_failure_gives_none(monkeypatch):
    asked = []

    def run(command, *, input, **_):
        asked.append(json.loads(input))
        return types.SimpleNamespace(returncode=1 if len(asked) > 1 else 0, stdout="a library's greeting\n12.5\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert memory.peak_cpu_mb(RESNET, batch_size=3, input_size=(32, 24), how=HOW) == 12.5
    assert memory.peak_cpu_mb(RESNET, batch_size=3, input_size=(32, 24), how=HOW) is None
    assert asked[0] == {
        "network": {"name": "resnet18", "arch": None, "head": None},
        "batch_size": 3,
        "input_size": [32, 24],
        "how": HOW.to_dict(),
        "threads": torch.get_num_threads(),
    }


def test_peak_memory_is_null_with_torch_compile():
    assert memory.peak_cpu_mb(RESNET, batch_size=1, input_size=(32, 32), how=Execution(compiled=True)) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_peak_on_a_gpu_is_weights_images_and_outputs():
    model = nn.Linear(1000, 1000, bias=False).cuda()
    images = torch.randn(1000, 1000, device="cuda")
    assert memory.peak_cuda_mb(model, make_step(model, images, Execution(device="cuda"))) == pytest.approx(12, rel=0.8)
