"""What every host must do: a new file in acmix_nas/hosts is tested by being there."""

import copy
import warnings

import pytest
import timm
import torch
from by_night import nightly_but
from torch.utils.flop_counter import FlopCounterMode

from acmix_nas import registry
from acmix_nas.arch import Arch, Mixer
from acmix_nas.cost import breakdown, count, total
from acmix_nas.errors import AcmixError
from acmix_nas.models import build_model, mixing, model_names, named_arch, plain_form

HOSTS = registry.names("hosts")
SHORTEST = {
    host: min(registry.load("hosts", host).MODELS, key=lambda name: len(named_arch(name).mixers)) for host in HOSTS
}


@pytest.fixture(params=HOSTS)
def arch(request):
    """The host's smallest network, cut to two blocks in each stage, ACmix in every block."""
    whole = named_arch(SHORTEST[request.param])
    both = {"combine": "learned", "conv_kernel": 3, "conv_impl": "full", "conv_init": "shift"}
    stages = [[mixer.having(**both, num_heads=mixer.num_heads or 4) for mixer in stage[:2]] for stage in whole.stages]
    return Arch.canonical(host=whole.host, stages=stages, conv_on=whole.conv_on)


def other(arch, **fields):
    stages = [[mixer.having(**fields) for mixer in stage] for stage in arch.stages]
    return Arch.canonical(host=arch.host, stages=stages, conv_on=arch.conv_on)


def with_operator(arch, name):
    stages = [[Mixer(operator=name) for _ in stage] for stage in arch.stages]
    return Arch.canonical(host=arch.host, stages=stages)


def small(arch):
    return build_model(arch, num_classes=5, img_size=32, width=0.5).eval()


@pytest.mark.parametrize("name", nightly_but(*SHORTEST.values(), of=model_names()))
def test_count_is_exact_for_every_name(name):
    with torch.device("meta"):
        model = timm.create_model(name).eval()
        with FlopCounterMode(display=False) as counter, plain_form(model):
            model(torch.empty(1, 3, 224, 224))
    cost, parts = count(named_arch(name), 224), breakdown(named_arch(name), 224)
    assert cost == count(model, 224)
    assert parts == breakdown(model, 224)
    assert cost.params == sum(parameter.numel() for parameter in model.parameters())
    assert 2 * (cost.macs - total(parts).unseen_macs) == counter.get_total_flops()
    assert 0 < cost.macs_deploy <= cost.macs


@pytest.mark.parametrize("input_size", [32, (45, 77)])
def test_count_is_exact_for_a_proxy(arch, input_size):
    with torch.device("meta"):
        model = build_model(arch, num_classes=7, in_chans=2, img_size=64, width=0.5).eval()
        with FlopCounterMode(display=False) as counter, plain_form(model):
            model(torch.empty(1, 2, *(input_size if isinstance(input_size, tuple) else (input_size,) * 2)))
    counted, cost = total(breakdown(model, input_size)), count(model, input_size)
    assert counted[:3] == (cost.params, cost.macs, cost.macs_deploy)
    assert counted.params == sum(parameter.numel() for parameter in model.parameters())
    assert 2 * (counted.macs - counted.unseen_macs) == counter.get_total_flops()


def test_activations_are_those_that_fvcore_counts(arch):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.")
        fvcore = pytest.importorskip("fvcore.nn")
        model = small(arch)
        analysis = fvcore.ActivationCountAnalysis(model, torch.zeros(1, 3, 45, 77)).tracer_warnings("none")
        with plain_form(model):
            counted = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    assert total(breakdown(model, (45, 77))).activations == counted


@pytest.mark.parametrize("size", [(32, 32), (45, 77), (1, 1)])
def test_any_image_size_runs(arch, size):
    y = small(arch)(torch.randn(2, 3, *size))
    assert y.shape == (2, 5)
    assert y.isfinite().all()


@pytest.mark.parametrize("operator", [name for name in registry.names("operators") if name != "acmix"])
def test_any_operator_stands_in_any_host(arch, operator):
    assert small(with_operator(arch, operator))(torch.randn(1, 3, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize("attention", registry.names("operators.attention"))
def test_any_attention_stands_in_any_host(arch, attention):
    model = small(other(arch, attention=attention, attn_kernel=3))
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 5)


def test_state_dict_round_trip(arch):
    first, second = small(arch), small(arch)
    second.load_state_dict(first.state_dict())
    x = torch.randn(1, 3, 45, 39)
    torch.testing.assert_close(first(x), second(x), rtol=0, atol=0)
    torch.testing.assert_close(first(x), copy.deepcopy(first)(x), rtol=0, atol=0)


def test_kernels_start_as_shifts(arch):
    """No initialisation of a host's may reach them."""
    kernels = [p for name, p in small(arch).named_parameters() if name.endswith("kernels.weight")]
    assert len(kernels) == len(arch.mixers)
    for kernel in kernels:
        taps = torch.eye(kernel.shape[1]).reshape(kernel.shape[1:])
        assert torch.equal(kernel, taps.expand_as(kernel))


def test_a_model_leaves_the_meta_device(arch):
    with torch.device("meta"):
        model = small(arch)
    model.to_empty(device="cpu").init_weights()
    assert model(torch.randn(1, 3, 32, 32)).isfinite().all()


def test_the_fast_form_is_the_plain_one(arch):
    """Values and gradients of the whole network."""
    model, images = small(arch).double(), torch.randn(2, 3, 45, 77, dtype=torch.float64)

    def run():
        model.zero_grad()
        y = model(images)
        y.square().sum().backward()
        return [y.detach(), *(parameter.grad.clone() for parameter in model.parameters())]

    fast = run()
    with plain_form(model):
        plain = run()
    for ours, literal in zip(fast, plain, strict=True):
        torch.testing.assert_close(ours, literal, rtol=1e-8, atol=1e-9 * max(1.0, literal.abs().max().item()))


@pytest.mark.parametrize("arch", nightly_but("resnet"), indirect=True)  # README has a Swin exported
def test_a_model_is_exported(arch):
    model, image = small(arch), torch.randn(1, 3, 32, 32)
    exported = torch.export.export(model, (image,))
    torch.testing.assert_close(exported.module()(image), model(image))


def test_weights_of_the_paths_are_seen_and_never_decay(arch):
    model = small(arch)
    assert mixing(model) == ((0.5, 0.5),) * len(arch.mixers)
    scalars = {name for name, _ in model.named_parameters() if name.endswith(("alpha", "beta"))}
    assert len(scalars) == 2 * len(arch.mixers)
    assert scalars <= model.no_weight_decay()
    assert mixing(small(other(arch, combine="att"))) == ((1.0, 0.0),) * len(arch.mixers)
    assert mixing(small(other(arch, combine="gated"))) == (None,) * len(arch.mixers)


def test_a_foreign_model_is_not_counted():
    with pytest.raises(AcmixError, match="Linear is neither"):
        count(torch.nn.Linear(2, 3))
