"""Networks on fake CUDA tensors, which need no driver: nothing they compute with is left on the CPU.

A fake tensor has shape, dtype and device and no numbers; operators of torch refuse tensors of two devices as on a GPU.
Autocast and the backward pass need a driver.
"""

import pytest
import torch
from by_night import nightly_but
from small_networks import small_model
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from acmix_nas import ACmix, registry
from acmix_nas.arch import COMBINE, CONV_IMPL
from acmix_nas.models import merge, plain_form

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def on_cuda(model: torch.nn.Module) -> torch.nn.Module:
    """The module with fake CUDA tensors; called below a FakeTensorMode."""
    moved = model.to_empty(device="cuda")
    assert all(isinstance(weight, FakeTensor) for weight in moved.parameters())
    return moved


def output(model: torch.nn.Module, images: torch.Tensor, form: str) -> torch.Tensor:
    if form == "paper":
        with plain_form(model):
            return model(images)
    return model(images)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("form", ["train", "paper", "merged"])
@pytest.mark.parametrize("host", nightly_but("swin"))
def test_a_network_stays_on_its_device(host, form, dtype):
    model = small_model(host).train(form == "train")
    model = (merge(model) if form == "merged" else model).to(DTYPES[dtype]).to("meta")
    with FakeTensorMode(allow_non_fake_inputs=True):
        scores = output(on_cuda(model), torch.empty(2, 3, 64, 64, device="cuda", dtype=DTYPES[dtype]), form)
    assert scores.device.type == "cuda"
    assert scores.shape[0] == 2


KINDS = [
    *[(impl, "learned") for impl in CONV_IMPL],
    *[("full", combine) for combine in COMBINE if combine != "learned"],
]


@pytest.mark.parametrize("mode", registry.names("operators.attention"))
def test_every_operator_stays_on_its_device(mode):
    for impl, combine in KINDS:
        for form in ("train", "paper"):
            module = ACmix(32, num_heads=4, attention=mode, conv_impl=impl, combine=combine).to("meta")
            with FakeTensorMode(allow_non_fake_inputs=True):
                y = output(on_cuda(module), torch.empty(2, 32, 14, 14, device="cuda"), form)
            assert (y.device.type, tuple(y.shape)) == ("cuda", (2, 32, 14, 14))


def test_a_tensor_that_stays_on_the_cpu_is_seen():
    class Forgetful(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) + torch.arange(3.0)

    forgetful = Forgetful().to("meta")
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match="device"):
        on_cuda(forgetful)(torch.empty(3, device="cuda"))
