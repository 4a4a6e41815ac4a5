"""The fast form of every part against its plain form: values and all gradients, over sizes, strides and dilations."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import TOLERANCES, assert_close
from torch import nn

from acmix_nas import registry
from acmix_nas.arch import COMBINE, CONV_IMPL, Mixer
from acmix_nas.models import merge, plain_form
from acmix_nas.operators.acmix import ACmix, build
from acmix_nas.operators.attention import _blocked

MODES = registry.names("operators.attention")
CHANNELS = 24

OPERATORS = {
    "num_heads": st.sampled_from([1, 2, 3, 6]),
    "attention": st.sampled_from(MODES),
    "attn_kernel": st.sampled_from([1, 3, 5, 7]),
    "conv_kernel": st.sampled_from([1, 3, 5]),
    "stride": st.integers(1, 4),
    "dilation": st.integers(1, 4),
    "conv_impl": st.sampled_from(CONV_IMPL),
    "combine": st.sampled_from(COMBINE),
    "fc_bias": st.booleans(),
}
EXTENT = st.integers(1, 17)


@pytest.fixture
def _always_blocks(monkeypatch):
    monkeypatch.setattr(_blocked, "SMALL", 0)


def randomized(module):
    """All weights drawn anew, so that no start value hides a mistake."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.double()


def results(module, *inputs):
    """Outputs, and the gradients of inputs and parameters."""
    module.zero_grad()
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    y = module(*inputs)
    outputs = y if isinstance(y, tuple) else (y,)
    sum((out * torch.linspace(-1, 2, out.numel()).reshape(out.shape)).sum() for out in outputs).backward()
    return [*outputs, *(x.grad for x in inputs), *(parameter.grad for parameter in module.parameters())]


def check_forms(module, *inputs):
    fast = results(module, *inputs)
    with plain_form(module):
        plain = results(module, *inputs)
    for ours, literal in zip(fast, plain, strict=True):
        torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-10 * max(1.0, literal.abs().max().item()))


@given(height=EXTENT, width=EXTENT, seed=st.integers(0, 99), **OPERATORS)
def test_the_forms_agree(height, width, seed, **described):
    torch.manual_seed(seed)
    module = randomized(ACmix(5, CHANNELS, **described))
    check_forms(module, torch.randn(2, 5, height, width, dtype=torch.float64))


@pytest.mark.usefixtures("_always_blocks")
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 4, 6])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (7, 8), (15, 13)])
def test_blocks_of_any_geometry(stride, dilation, size):
    torch.manual_seed(0)
    for kernel in (1, 3, 7):
        described = {"attn_kernel": kernel, "stride": stride, "dilation": dilation, "combine": "att"}
        module = randomized(ACmix(3, 4, num_heads=2, **described))
        check_forms(module, torch.randn(2, 3, *size, dtype=torch.float64))


@pytest.mark.usefixtures("_always_blocks")
def test_blocks_of_an_empty_batch():
    assert ACmix(6, num_heads=2, stride=2)(torch.zeros(0, 6, 9, 5)).shape == (0, 6, 5, 3)


@pytest.mark.parametrize("conv_on", ["rolled", "image"])
@pytest.mark.parametrize("size", [(6, 9), (7, 5), (13, 11)])
@pytest.mark.parametrize("frozen", [False, True])
def test_shifted_windows(conv_on, size, frozen):
    """Frozen biases let the fused kernel serve training too."""
    torch.manual_seed(0)
    place = {"map_size": size, "shifted": True, "conv_on": conv_on, "fc_bias": True}
    module = randomized(build(mixer("window"), in_channels=6, out_channels=6, **place))
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    if not frozen:
        check_forms(module, x)
    with plain_form(module), torch.no_grad():
        expected = module(x)
    module.attention.relative_position_bias_table.requires_grad_(not frozen)
    assert_close(module(x).detach(), expected)


@pytest.mark.parametrize("size", [(4, 6), (5, 3)])
@pytest.mark.parametrize("token", [False, True])
def test_reduced_keys_and_a_class_token(size, token):
    torch.manual_seed(0)
    site = {"in_channels": 6, "out_channels": 6, "sr_ratio": 1 if token else 2, "kernel_bias": True}
    module = randomized(build(mixer("global"), class_token=token, **site))
    inputs = [torch.randn(2, 6, *size, dtype=torch.float64)]
    if token:
        inputs.append(torch.randn(2, 1, 6, dtype=torch.float64))
    check_forms(module, *inputs)


@pytest.mark.parametrize("attention", ["patchwise", "pairwise"])
@pytest.mark.parametrize("impl", CONV_IMPL)
@pytest.mark.parametrize("combine", ["channel", "learned"])
def test_narrow_keys(attention, impl, combine):
    torch.manual_seed(0)
    described = mixer(attention, conv_impl=impl, combine=combine)
    module = randomized(build(described, in_channels=5, out_channels=CHANNELS, key_channels=6, fc_bias=True))
    check_forms(module, torch.randn(2, 5, 6, 5, dtype=torch.float64))


@pytest.mark.parametrize("attention", MODES)
@pytest.mark.parametrize("dtype", [dtype for dtype in TOLERANCES if dtype != torch.float64])
def test_the_forms_agree_in_other_types(attention, dtype):
    torch.manual_seed(0)
    module = ACmix(8, CHANNELS, num_heads=3, attention=attention, attn_kernel=3, fc_bias=True).eval().to(dtype)
    x = torch.randn(2, 8, 15, 14).to(dtype)
    with torch.no_grad():
        fast = module(x)
        with plain_form(module):
            assert_close(fast, module(x))


@pytest.mark.parametrize("attention", MODES)
@pytest.mark.parametrize("impl", CONV_IMPL)
def test_autocast_runs_every_form(attention, impl):
    torch.manual_seed(0)
    module = ACmix(8, CHANNELS, num_heads=3, attention=attention, attn_kernel=3, conv_impl=impl, fc_bias=True).eval()
    x = torch.randn(2, 8, 15, 14)
    expected = module(x).detach()
    for form in (module, merge(module)):
        with torch.autocast("cpu", torch.bfloat16):
            y = form(x)
        assert_close(y.detach().to(torch.bfloat16), expected)


def mixer(attention, **fields):
    values = {
        "attention": attention, "attn_kernel": 3, "conv_kernel": 3, "num_heads": 3, "conv_impl": "full",
        "conv_init": "shift", "combine": "learned",
    }  # fmt: skip
    return Mixer.canonical(**{**values, **fields})
