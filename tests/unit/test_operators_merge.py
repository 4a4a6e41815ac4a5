"""`merge` gives a new module that computes the same."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from acmix_nas import registry
from acmix_nas.arch import COMBINE, CONV_IMPL, Arch, Mixer
from acmix_nas.models import build_model, merge, mixing, model_names, named_arch
from acmix_nas.operators.acmix import ACmix, build

MODES = registry.names("operators.attention")
HOSTS = registry.names("hosts")


def randomized(module):
    """Weights and statistics drawn anew, so that no start value hides a mistake."""
    for parameter in module.parameters():
        if parameter.ndim < 2:
            nn.init.normal_(parameter, 0.5, 0.3)
    for name, buffer in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            nn.init.uniform_(buffer, 0.5, 2)
    return module.double().eval()


def check(module, x):
    with torch.no_grad():
        expected = module(x)
        together = merge(module)
        torch.testing.assert_close(together(x), expected, rtol=1e-9, atol=1e-9 * expected.abs().max().clamp(min=1))
        torch.testing.assert_close(module(x), expected, rtol=0, atol=0)
    assert not together.training
    assert not any(parameter.requires_grad for parameter in together.parameters())
    return together


@given(
    attention=st.sampled_from(MODES), combine=st.sampled_from(COMBINE), conv_impl=st.sampled_from(CONV_IMPL),
    num_heads=st.sampled_from([1, 3, 6]), conv_kernel=st.sampled_from([1, 3, 5]), stride=st.integers(1, 3),
    fc_bias=st.booleans(), height=st.integers(1, 9), width=st.integers(1, 9),
)  # fmt: skip
def test_any_operator_merges(height, width, **described):
    torch.manual_seed(0)
    module = randomized(ACmix(5, 24, attn_kernel=3, **described))
    check(module, torch.randn(2, 5, height, width, dtype=torch.float64))


@pytest.mark.parametrize("attention", ["local", "window", "global"])
@pytest.mark.parametrize("combine", ["conv", "learned", "channel", "gated"])
@pytest.mark.parametrize("fc_bias", [False, True])
def test_wide_heads_are_mixed_by_the_projections(attention, combine, fc_bias):
    """Also at the borders, where the zeros come in after the bias of the light layer."""
    torch.manual_seed(0)
    module = ACmix(5, 96, num_heads=6, attention=attention, attn_kernel=3, combine=combine, fc_bias=fc_bias)
    deployed = check(randomized(module), torch.randn(2, 5, 7, 5, dtype=torch.float64))
    (light,) = [layer for layer in (deployed.mixed, deployed.qkv) if layer is not None and layer.out_features == 16 * 9]
    assert light.in_features == 5


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("combine", ["att", "conv", "learned", "channel", "convex", "gated"])
@pytest.mark.parametrize("impl", ["shift", pytest.param("learnable", marks=pytest.mark.nightly), "full"])
def test_any_host_merges(host, combine, impl):
    torch.manual_seed(0)
    name = next(name for name in model_names() if named_arch(name).host == host)
    fields = {"combine": combine, "conv_kernel": 3, "conv_impl": impl, "conv_init": "shift"}
    whole = named_arch(name)
    stages = [[mixer.having(**fields, num_heads=mixer.num_heads or 4)] for stage in whole.stages for mixer in stage[:1]]
    arch = Arch.canonical(host=host, stages=stages, conv_on=whole.conv_on)
    model = randomized(build_model(arch, num_classes=5, img_size=32, width=0.5))
    together = check(model, torch.randn(2, 3, 45, 39, dtype=torch.float64))
    assert mixing(together) == mixing(model)


def test_an_ordinary_resnet_keeps_no_norm():
    torch.manual_seed(0)
    stages = tuple((Mixer(operator="conv"),) for _ in range(4))
    model = randomized(build_model(Arch(host="resnet", stages=stages), num_classes=5, width=0.25))
    together = check(model, torch.randn(1, 3, 33, 47, dtype=torch.float64))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in together.modules())


def test_a_scale_of_zero_and_single_precision():
    torch.manual_seed(0)
    model = build_model(named_arch("acmix_resnet26"), num_classes=5, width=0.25).eval()
    nn.init.zeros_(model.layer1[0].bn2.weight)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(merge(model)(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("combine", ["att", "learned", "gated"])
def test_a_merged_model_is_exported_and_merges_again(combine):
    model = merge(nn.Sequential(ACmix(8, fc_bias=True, combine=combine), nn.ReLU()))
    x = torch.randn(1, 8, 9, 7)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))
    torch.testing.assert_close(merge(model)(x), model(x))
    torch.testing.assert_close(merge(model[0])(x), model[0](x))


@pytest.mark.parametrize("shifted", [False, True])
def test_window_tables_are_added_up_beforehand(shifted):
    """At the size it was placed on, at another one, and placed anew; and they travel with the state dict."""
    torch.manual_seed(0)
    mixer = Mixer.canonical(attention="window", attn_kernel=3, num_heads=2, combine="att")
    described = {"in_channels": 6, "out_channels": 6, "shifted": shifted}
    operator = randomized(build(mixer, **described, map_size=(6, 8)))
    deployed = merge(operator)
    assert deployed.attention.frozen.shape == (6 if shifted else 1, 2, 9, 9)
    other = merge(randomized(build(mixer, **described, map_size=(6, 8))))
    other.load_state_dict(deployed.state_dict())
    for size in ((6, 8), (7, 11), (2, 5)):
        x = torch.randn(2, 6, *size, dtype=torch.float64)
        torch.testing.assert_close(deployed(x), operator(x))
        torch.testing.assert_close(other(x), operator(x))
    for module in (operator, deployed):
        module.set_input_size((9, 5), shifted=shifted)
    x = torch.randn(2, 6, 9, 5, dtype=torch.float64)
    torch.testing.assert_close(deployed(x), operator(x))
