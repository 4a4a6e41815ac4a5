"""What torch's and timm's tools do to a module works on ACmix in every attention mode, and on every host."""

import contextlib
import copy
import warnings

import pytest
import timm.utils
import torch
from by_night import nightly_but
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from acmix_nas import registry
from acmix_nas.arch import Arch
from acmix_nas.cost.execution import Execution
from acmix_nas.cost.latency_build import _stamped
from acmix_nas.cost.where import module_times
from acmix_nas.errors import DerivativeError
from acmix_nas.export._network import prepared, settings_for
from acmix_nas.models import build_model, merge, named_arch, plain_form
from acmix_nas.operators import forms
from acmix_nas.operators._shift import ShiftKernels
from acmix_nas.operators.acmix import ACmix
from acmix_nas.operators.forms import plain_parts
from acmix_nas.train.scoring import watch_mixing

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*uses its plain form:UserWarning")]

MODES = registry.names("operators.attention")
HOSTS = registry.names("hosts")
WEIGHTED = (nn.Linear, nn.Conv2d)


def bare(mode):
    return ACmix(8, 24, num_heads=3, attention=mode, attn_kernel=3, fc_bias=True)


def whole(host):
    """The host's first network with ACmix, thin, a block a stage and two in the last: PVT's head reads one token."""
    named = named_arch(next(iter(registry.load("hosts", host).MODELS)))
    both = {"combine": "learned", "conv_kernel": 3, "conv_impl": "full", "conv_init": "shift"}
    stages = [[mixer.having(**both, num_heads=mixer.num_heads or 4) for mixer in stage[:1]] for stage in named.stages]
    stages[-1] = 2 * stages[-1]
    arch = Arch.canonical(host=host, stages=stages, conv_on=named.conv_on)
    return build_model(arch, num_classes=5, img_size=32, width=0.5)


@pytest.fixture(params=[*MODES, *nightly_but("pvt", "swin")])
def model(request):
    """In double precision and evaluation, with weights and statistics that are none of those before training."""
    made = bare(request.param) if request.param in MODES else whole(request.param)
    for parameter in made.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
        if parameter.data.abs().max() < 0.5:  # the last norms of blocks start at 0
            parameter.data.add_(0.1)
    norms = [module for module in made.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        made.train()(torch.randn(4, 8, 9, 9) if isinstance(made, ACmix) else torch.randn(4, 3, 45, 39))
    for norm in norms:
        norm.momentum = 0.1
    return made.double().eval()


@pytest.fixture
def x(model):
    return torch.randn(2, 8, 7, 6).double() if isinstance(model, ACmix) else torch.randn(2, 3, 45, 39).double()


def weighted(model):
    return [name for name, module in model.named_modules() if type(module) in WEIGHTED]


def check(found, expected, rtol=1e-8):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * expected.abs().max().item())


def twin_of(model, touched):
    """A model that nobody touched, with the weights that a touched one computes."""
    twin = copy.deepcopy(model)
    for name in weighted(twin):
        twin.get_submodule(name).weight.data.copy_(touched.get_submodule(name).weight.detach())
    return twin


def parametrised(model, method):
    touched = copy.deepcopy(model)
    for name in weighted(model):
        method(touched.get_submodule(name))
    for name, parameter in touched.named_parameters():
        if name.endswith(("original0", "weight_g")):
            parameter.data.mul_(1.3)
    return touched


def check_computed(model, touched, x):
    """A computed weight is used, gets gradients, and is folded as it is now."""
    twin = twin_of(model, touched)
    with torch.no_grad():
        expected = twin(x)
        assert not torch.allclose(model(x), expected)
        check(touched(x), expected)
    touched(x).square().sum().backward()
    assert [name for name, parameter in touched.named_parameters() if parameter.grad is None] == []
    touched.zero_grad()
    check_merged(touched, x)


def check_merged(touched, x):
    touched(x)  # what hooks compute is then a part of autograd's graph
    with torch.no_grad():
        expected, together = touched(x), merge(touched)
        check(together(x), expected)
        for module in together.modules():
            assert not parametrize.is_parametrized(module)
            assert not module._forward_pre_hooks
            assert not {"weight", "weight_orig", "weight_g"} & vars(module).keys()
        assert plain_parts(together) == {}
        assert {type(module) for module in together.modules()} == {type(m) for m in merge(untouched(touched)).modules()}


def untouched(touched):
    return bare(mode_of(touched)) if isinstance(touched, ACmix) else whole(touched.arch.host)


def mode_of(operator):
    return type(operator.attention).__module__.rpartition(".")[2]


@torch.no_grad()
def test_an_untouched_model_has_no_plain_parts(model, x):
    assert plain_parts(model) == {}
    assert plain_parts(merge(model)) == {}


@pytest.mark.parametrize("training", [False, True])
def test_synchronised_norms(model, x, training):
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model)).train(training)
    with torch.no_grad():
        check(synced(x), model.train(training)(x))
    for name, buffer in model.named_buffers():
        check(synced.get_buffer(name).double(), buffer.double())
    for either in (synced, model):
        either(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in synced.parameters())
    with torch.no_grad():
        check(merge(synced)(x), model.eval()(x))


@torch.no_grad()
@pytest.mark.parametrize("synchronised", [False, True])
def test_frozen_norms(model, x, synchronised):
    expected = model(x)
    touched = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model)) if synchronised else copy.deepcopy(model)
    frozen = timm.layers.freeze_batch_norm_2d(touched)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "merge folds nothing")
        check(frozen(x), expected)
        check(merge(frozen)(x), expected)
    for norm in (module for module in frozen.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.eval().requires_grad_(False)
    before = copy.deepcopy(dict(frozen.named_buffers()))
    frozen.train()
    for norm in (module for module in frozen.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.eval()
    check(frozen(x), expected)
    assert all(torch.equal(buffer, before[name]) for name, buffer in frozen.named_buffers())


@pytest.mark.parametrize("method", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrised_weights(model, x, method):
    check_computed(model, parametrised(model, method).eval(), x)


def test_a_parametrised_alpha_table_and_kernel(x, model):
    """Also parameters of our own modules."""

    class Softplus(nn.Module):
        def forward(self, raw):
            return nn.functional.softplus(raw)

    touched, twin = copy.deepcopy(model), copy.deepcopy(model)
    own = ("alpha", "beta", "relative_position_bias_table")
    for part in list(touched.modules()):
        for name in [name for name, _ in part.named_parameters(recurse=False)]:
            if name in own or isinstance(part, ShiftKernels):
                parametrize.register_parametrization(part, name, Softplus(), unsafe=True)
    for name, parameter in twin.named_parameters():
        if name.endswith((*own, "kernels.weight")):
            parameter.data.copy_(nn.functional.softplus(parameter.data))
    with torch.no_grad():
        check(touched(x), twin(x))
        check(merge(touched)(x), twin(x))


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("method", [weight_norm, spectral_norm])
def test_weights_that_older_hooks_compute(model, x, method):
    touched = parametrised(model, method).eval()
    touched(x)
    check_computed(model, touched, x)


def test_pruned_weights(model, x):
    touched = copy.deepcopy(model)
    for name, module in list(touched.named_modules()):
        if name in weighted(model) or isinstance(module, ShiftKernels):
            prune.l1_unstructured(module, "weight", 0.5)
    twin = twin_of(model, touched)
    for name, module in twin.named_modules():
        if isinstance(module, ShiftKernels):
            module.weight.data.copy_(touched.get_submodule(name).weight.detach())
    with torch.no_grad():
        check(touched(x), twin(x))
    touched(x).square().sum().backward()
    for module in touched.modules():
        if prune.is_pruned(module) and hasattr(module, "weight_mask"):
            assert not module.weight_orig.grad[module.weight_mask == 0].any()
    touched.zero_grad()
    check_merged(touched, x)


def inner(model, *, of_all=True):
    """What is inside of all mixers, or of the last but one, by name."""
    mixers = [name for name, module in model.named_modules() if isinstance(module, ACmix)]
    operators = mixers if of_all else mixers[-2:][:1]
    below = tuple(f"{name}." if name else "" for name in operators)
    return [name for name, _ in model.named_modules() if name.startswith(below) and name not in operators]


@pytest.mark.filterwarnings("ignore:Full backward hook is firing when gradients are computed:UserWarning")
@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_hooks_see_every_inner_module(model, x, kind):
    touched, seen = copy.deepcopy(model), set()
    for name in inner(touched):
        register = getattr(touched.get_submodule(name), f"register_{kind}_hook")
        register(lambda *_, name=name: seen.add(name))
    y = touched(x.requires_grad_())
    y.square().sum().backward()
    assert set(inner(touched)) - seen == set()
    check(y.detach(), model(x).detach())


def bent(module, inputs, output):
    return 1.5 * output + 0.3 * output.abs()


@torch.no_grad()
@pytest.mark.parametrize("model", [*MODES, "pvt"], indirect=True)  # with and without a class token
def test_a_hook_that_changes_an_output_changes_the_network(model, x):
    changed = []
    for name in inner(model, of_all=False):
        touched = copy.deepcopy(model)
        touched.get_submodule(name).register_forward_hook(bent)
        y = touched(x)
        with plain_form(touched):
            check(y, touched(x))
        changed.append(not torch.allclose(y, model(x), rtol=1e-9, atol=1e-12))
    assert all(changed) or not isinstance(model, ACmix)
    assert any(changed)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:merge folds nothing:UserWarning")
@pytest.mark.parametrize("model", [*MODES, "pvt"], indirect=True)
def test_merging_loses_no_hook(model, x):
    for name in inner(model, of_all=False):
        touched = copy.deepcopy(model)
        touched.get_submodule(name).register_forward_hook(bent)
        check(merge(touched)(x), touched(x))


@torch.no_grad()
@pytest.mark.parametrize("host", nightly_but("swin", "resnet"))
def test_merging_loses_no_hook_of_a_layer_or_a_norm(host):
    model, x = whole(host).double().eval(), torch.randn(2, 3, 45, 39).double()
    kinds = (nn.BatchNorm2d, nn.Conv2d, ACmix)
    for name in [name for name, module in model.named_modules() if isinstance(module, kinds)][::5]:
        touched, seen = copy.deepcopy(model), []
        touched.get_submodule(name).register_forward_hook(lambda *given, seen=seen: seen.append(given[2]))
        touched(x)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "merge folds nothing")
            merge(touched)(x)
        torch.testing.assert_close(seen[1], seen[0])


class LoRA(nn.Module):
    """An adapter beside a linear layer."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, 2, bias=False).to(base.weight)
        self.up = nn.Linear(2, base.out_features, bias=False).to(base.weight)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))

    @property
    def weight(self):  # as peft's layers have it: what the layer was, not what it computes
        return self.base.weight

    @property
    def bias(self):
        return self.base.bias


@pytest.mark.filterwarnings("ignore:merge folds nothing:UserWarning")
def test_adapters_in_place_of_linear_layers(model, x):
    touched, twin = copy.deepcopy(model), copy.deepcopy(model)
    for name in weighted(model):
        if isinstance(layer := touched.get_submodule(name), nn.Linear):
            touched.set_submodule(name, adapter := LoRA(layer.requires_grad_(False)))
            twin.get_submodule(name).weight.data.add_(adapter.up.weight.data @ adapter.down.weight.data)
    with torch.no_grad():
        check(touched(x), twin(x))
        check(merge(touched)(x), twin(x))
    touched(x).square().sum().backward()
    reached = [adapter.up.weight.grad.any() for adapter in touched.modules() if isinstance(adapter, LoRA)]
    assert all(reached) or not isinstance(model, ACmix)
    assert sum(reached) > len(reached) // 2


@torch.no_grad()
def test_replaced_parts_of_an_operator(model, x):
    class Twice(nn.Module):
        def __init__(self, inside):
            super().__init__()
            self.inside = inside

        def forward(self, *inputs):
            return 2 * self.inside(*inputs)

    for part in ("convolution", "combine"):
        touched, twin = copy.deepcopy(model), copy.deepcopy(model)
        for name, module in model.named_modules():
            if isinstance(module, ACmix):
                place = f"{name}.{part}".strip(".")
                touched.set_submodule(place, Twice(touched.get_submodule(place)))
                hooked = twin.get_submodule(place)
                hooked.register_forward_hook(lambda module, inputs, output: 2 * output)
        check(touched(x), twin(x))


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
def test_dynamic_quantisation_of_linear_layers(model, x):
    model, x = model.float(), x.float()
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)
    layers = [module for module in quantised.modules() if "quantized" in type(module).__module__]
    assert len(layers) >= sum(type(module) is nn.Linear for module in model.modules()) > 0
    y, expected = quantised(x), model(x)
    assert 0 < (y - expected).abs().max() < 0.2 * expected.abs().max()


class Scaled(torch.Tensor):
    """A weight that only `torch.nn.functional.linear` may read, as torchao's are."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is nn.functional.linear:
            x, weight, bias = args
            return nn.functional.linear(x, 0.5 * weight.as_subclass(torch.Tensor), bias)
        if function.__name__ in ("mul", "einsum", "matmul", "__getitem__"):
            raise NotImplementedError(function.__name__)
        return super().__torch_function__(function, types, args, kwargs or {})


@torch.no_grad()
def test_weights_of_another_tensor_type(model, x):
    touched, twin = copy.deepcopy(model), copy.deepcopy(model)
    for name in weighted(model):
        if isinstance(touched.get_submodule(name), nn.Linear):
            layer = touched.get_submodule(name)
            layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Scaled), requires_grad=False)
            twin.get_submodule(name).weight.mul_(0.5)
    check(touched(x), twin(x))


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_gradients_of_each_sample(model, x):
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def loss(values, image):
        return torch.func.functional_call(model, (values, buffers), (image[None],)).square().mean()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for index, image in enumerate(x):
        model.zero_grad()
        model(image[None]).square().mean().backward()
        for name, parameter in parameters.items():
            torch.testing.assert_close(each[name][index], parameter.grad, rtol=1e-8, atol=1e-9)


def second(model, x, along):
    """The second derivative of a loss along a direction, by differentiating twice."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).square().mean(), x, create_graph=True)
    (product,) = torch.autograd.grad((gradient * along).sum(), x)
    return product


def test_second_derivatives(model, x):
    """The plain form has them; the fast one has them too or says where they are."""
    along, step = torch.randn_like(x), 1e-7
    with plain_form(model):
        product = second(model, x, along)
        gradients = []
        for sign in (1, -1):
            moved = (x + sign * step * along).requires_grad_()
            gradients.append(torch.autograd.grad(model(moved).square().mean(), moved)[0])
    check(product, (gradients[0] - gradients[1]) / (2 * step), rtol=1e-3)
    with contextlib.suppress(DerivativeError):
        check(second(model, x, along), product)
    first = x.clone().requires_grad_()  # asked for, but not used
    (gradient,) = torch.autograd.grad(model(first).square().mean(), first, create_graph=True)
    assert gradient.isfinite().all()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # of torch's own rules for jvp
def test_second_derivatives_by_torch_func(model, x):
    """Forward over reverse; its transforms take the plain form themselves."""
    along = torch.randn_like(x)
    product = torch.func.jvp(torch.func.grad(lambda image: model(image).square().mean()), (x,), (along,))[1]
    with plain_form(model):
        check(product, second(model, x, along), rtol=1e-5)


def test_a_kernel_that_has_second_derivatives_keeps_them():
    model, x = bare("global").double(), torch.randn(2, 8, 7, 6).double()
    along = torch.randn_like(x)
    with plain_form(model):
        expected = second(model, x, along)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        check(second(model, x, along), expected)
    with pytest.raises(DerivativeError, match=r"acmix_nas\.plain_form"):
        second(model, x, along)


@torch.no_grad()
@pytest.mark.filterwarnings("error")
def test_our_own_observers_change_no_form(model, x):
    model, x = model.float(), x.float()
    expected, seen = model(x), []
    mixers = [module for module in model.modules() if isinstance(module, ACmix)]
    spy = mixers[0].attention.register_forward_hook  # kept uncalled: a hook would change the form
    assert callable(spy)
    if hasattr(model, "mixers"):
        with watch_mixing(model) as read:
            assert plain_parts(model) == {}
            assert torch.equal(model(x), expected)
            seen.append(read().weights)
        assert seen[0][0] is not None

    class Clock:
        def stamp(self):
            seen.append(plain_parts(model))
            return 0.0

        def between_ms(self, start, end):
            return 0.0

    seen.clear()
    with _stamped(mixers, Clock()):
        assert torch.equal(model(x), expected)
    times = module_times(model, x, Execution(), clock=Clock(), passes=1)
    assert set(times) >= {"" if isinstance(model, ACmix) else "head"} - {"head"}
    assert seen
    assert not any(seen)


@torch.no_grad()
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("host", HOSTS)
def test_an_export_checks_the_fast_form(host):
    model = whole(host).eval()
    settings = settings_for(model, form="train", features_only=False, input_size=64, dynamic=False)
    assert plain_parts(prepared(model, settings)) == {}


def test_it_is_said_once(monkeypatch):
    monkeypatch.setattr(forms, "_said", set())
    model, x = nn.Sequential(bare("window"), ACmix(24, num_heads=3, attention="window")), torch.randn(1, 8, 5, 4)
    for operator in model:
        operator.attention.proj.register_forward_hook(lambda *_: None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model(x)
        model(x)
        with plain_form(model):
            model(x)
        operator.qkv.register_forward_hook(lambda *_: None)
        model(x)
    assert [str(warning.message).partition(":")[0] for warning in said] == [
        "window.Attention uses its plain form, because its proj has hooks",
        "acmix.ACmix uses its plain form, because its qkv has hooks",
    ]
    assert plain_parts(model) == {
        "0.attention": "its proj has hooks", "1.attention": "its proj has hooks", "1": "its qkv has hooks",
    }  # fmt: skip


@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_touched_operators_compile_and_are_exported(mode):
    model, x = bare(mode).eval(), torch.randn(1, 8, 9, 7)
    for layer in (model.qkv, model.convolution.fc):
        parametrizations.weight_norm(layer)
    expected = model(x)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), expected)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)
