"""What every operator and every attention mode must do: a new file here is tested by being there."""

import math
import warnings

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from acmix_nas import registry
from acmix_nas.arch import COMBINE, CONV_IMPL, Mixer
from acmix_nas.models import plain_form
from acmix_nas.operators.attention import AttentionMode
from acmix_nas.parts import OPS, total

CHANNELS, HEADS = 24, 3
MODES = registry.names("operators.attention")
SITE = {"in_channels": 16, "out_channels": CHANNELS}


def acmix(**fields):
    values = {
        "attention": "local", "attn_kernel": 5, "conv_kernel": 3, "num_heads": HEADS, "conv_impl": "full",
        "conv_init": "shift", "combine": "learned",
    }  # fmt: skip
    return Mixer.canonical(**{**values, **fields})


MIXERS = [
    *(acmix(combine=combine) for combine in COMBINE),
    *(acmix(conv_impl=impl, conv_kernel=5) for impl in CONV_IMPL),
    *(acmix(attention=mode, combine=combine) for mode in MODES for combine in ("att", "learned", "gated")),
    *(Mixer(operator=name) for name in registry.names("operators") if name != "acmix"),
]


def described(value):
    return "-".join(map(str, value.to_dict().values())) if isinstance(value, Mixer) else None


@pytest.fixture(params=MIXERS, ids=described)
def mixer(request):
    return request.param


def held(operator, module=""):
    """Parameters below a module."""
    below = [p for name, p in operator.named_parameters() if not module or name.startswith(f"{module}.")]
    return sum(parameter.numel() for parameter in below)


def load(mixer):
    return registry.load("operators", mixer.operator)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (11, 7)])
def test_any_map_gives_its_size_at_stride(mixer, stride, size):
    operator = load(mixer).build(mixer, **SITE, stride=stride, dilation=2)
    y = operator(torch.randn(2, 16, *size))
    assert y.shape == (2, CHANNELS, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
    assert y.isfinite().all()


@pytest.mark.parametrize("fc_bias", [False, True])
@pytest.mark.parametrize("map_size", [None, (4, 6), (7, 11)])
def test_count_is_exact(mixer, fc_bias, map_size):
    """Parameters as built, multiply-adds as torch's counter sees them executed."""
    size = (7, 11)
    for stride in (1, 2):
        site = {**SITE, "stride": stride, "fc_bias": fc_bias, "map_size": map_size}
        with torch.device("meta"):
            operator = load(mixer).build(mixer, **site)
            with FlopCounterMode(display=False) as counter, plain_form(operator):
                operator(torch.empty(1, 16, *size))
        parts = load(mixer).count(mixer, input_map=size, **site)
        counted = total(parts)
        assert counter.get_total_flops() == 2 * (counted.macs - counted.unseen_macs)
        assert 0 < counted.macs_deploy <= counted.macs
        for part in parts:
            assert part.op in OPS
            assert part.stage is None
            assert part.params == held(operator, part.module)
        assert counted.params == held(operator)


@pytest.mark.parametrize("stride", [1, 2])
def test_activations_are_those_that_fvcore_counts(mixer, stride):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.")
        fvcore = pytest.importorskip("fvcore.nn")
        operator = load(mixer).build(mixer, **SITE, stride=stride, map_size=(7, 11), fc_bias=True)
        analysis = fvcore.ActivationCountAnalysis(operator.eval(), torch.zeros(1, 16, 7, 11)).tracer_warnings("none")
        with plain_form(operator):
            counted = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    site = {**SITE, "stride": stride, "map_size": (7, 11), "fc_bias": True}
    assert total(load(mixer).count(mixer, input_map=(7, 11), **site)).activations == counted


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("combine", ["conv", "learned"])
def test_frozen_kernels_cost_no_more_than_the_shifts_they_are(mode, combine):
    """`groupconv` and `shift` are one function, so they have one cheapest form."""
    costs = [
        total(load(mixer).count(mixer, **SITE, input_map=(7, 11), stride=2))
        for impl in ("shift", "groupconv")
        for mixer in [acmix(attention=mode, combine=combine, conv_impl=impl, conv_kernel=5)]
    ]
    assert costs[0].macs_deploy == costs[1].macs_deploy


def test_state_dict_round_trip(mixer):
    first, second = (load(mixer).build(mixer, **SITE) for _ in range(2))
    second.load_state_dict(first.state_dict())
    x = torch.randn(1, 16, 7, 5)
    torch.testing.assert_close(first(x), second(x), rtol=0, atol=0)


def test_a_hosts_site_is_accepted(mixer):
    site = {"map_size": (7, 11), "shifted": True, "conv_on": "image", "fc_bias": True}
    operator = load(mixer).build(mixer, **SITE, **site)
    assert operator(torch.randn(1, 16, 7, 11)).shape == (1, CHANNELS, 7, 11)


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_offers_what_acmix_asks_for(mode):
    module = registry.load("operators.attention", mode)
    attention = module.Attention(CHANNELS, HEADS, 5)
    assert isinstance(attention, AttentionMode)
    counted = module.count(channels=CHANNELS, num_heads=HEADS, kernel_size=5, input_map=(7, 11))
    assert counted.params == sum(parameter.numel() for parameter in attention.parameters())
    assert attention.arrange(torch.zeros(1, 7, 11, CHANNELS)).shape[1:3] == counted.arranged


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_gives_gradients_to_all_it_holds(mode):
    mixer = acmix(attention=mode)
    operator = load(mixer).build(mixer, **SITE, map_size=(7, 11), shifted=True)
    operator(torch.randn(1, 16, 7, 11)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in operator.parameters())
