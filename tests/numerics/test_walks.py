"""The fast forms of SAN's modes, which walk over the window: any geometry, the norms' statistics, and what is held."""

import copy

import pytest
import torch
from test_forms import check_forms, mixer, randomized, results
from tolerances import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from acmix_nas.models import merge, plain_form
from acmix_nas.operators.acmix import build
from acmix_nas.operators.attention import _pairwise, _patchwise
from acmix_nas.operators.attention._windows import Window

MODES = ["patchwise", "pairwise"]
FEW, MANY = 24, 136
"""Channels of v: weights made for each of them, or for each group of eight."""


def attention(mode, *, channels=FEW, keys=5, kernel=3, **site):
    """A mode with narrow keys, behind its projections."""
    described = mixer(mode, attn_kernel=kernel, combine="att")
    return randomized(build(described, in_channels=3, out_channels=channels, key_channels=keys, **site))


def statistics(module):
    return {name: value for name, value in module.named_buffers() if "norm" in name}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (7, 8)])
def test_windows_of_any_geometry(mode, training, stride, size):
    for kernel, dilation in ((1, 1), (3, 1), (3, 3), (5, 2)):
        for channels in (FEW, MANY):
            module = attention(mode, channels=channels, kernel=kernel, stride=stride, dilation=dilation)
            check_forms(module.train(training), torch.randn(2, 3, *size, dtype=torch.float64))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_training_keeps_the_same_statistics(mode, momentum):
    fast = attention(mode, stride=2).train()
    for norm in (fast.attention.norm1, fast.attention.norm2):
        norm.momentum = momentum
    plain = copy.deepcopy(fast)
    for _ in range(3):
        x = 2 + torch.randn(2, 3, 7, 6, dtype=torch.float64)
        results(fast, x)
        with plain_form(plain):
            results(plain, x)
    before, after = statistics(attention(mode)), statistics(fast)
    assert len(after) == 6
    for name, expected in statistics(plain).items():
        torch.testing.assert_close(after[name], expected, rtol=1e-9, atol=1e-10)
        assert not torch.equal(after[name], before[name])


@pytest.mark.parametrize("mode", MODES)
def test_inference_and_frozen_norms_keep_theirs(mode):
    module = attention(mode).train()
    module.attention.norm1.eval()
    before = {name: value.clone() for name, value in statistics(module.attention.norm1).items()}
    check_forms(module, torch.randn(2, 3, 7, 6, dtype=torch.float64))
    for name, value in statistics(module.attention.norm1).items():
        assert torch.equal(value, before[name])
    module.eval()
    kept = copy.deepcopy(statistics(module))
    module(torch.randn(2, 3, 7, 6, dtype=torch.float64))
    assert all(torch.equal(value, kept[name]) for name, value in statistics(module).items())


@pytest.mark.parametrize("mode", MODES)
def test_statistics_survive_a_large_mean(mode):
    """Float32 sums of squares about zero would lose the variance here."""
    module = attention(mode, keys=4).float().train()
    module.qkv.bias.data += 1000
    fast, plain = module.attention, copy.deepcopy(module.attention).double()
    q, k, v = (1000 + torch.randn(2, 11, 9, channels) for channels in (4, 4, FEW))
    y = fast(q, k, v)
    with plain_form(plain):
        expected = plain(q.double(), k.double(), v.double())
    torch.testing.assert_close(y.double(), expected, rtol=1e-2, atol=1e-2 * expected.abs().max().item())
    torch.testing.assert_close(fast.norm1.running_var.double(), plain.norm1.running_var, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_one_value_for_each_channel_is_refused_as_by_torch(mode):
    module = attention(mode, kernel=1).train()
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        module(torch.zeros(1, 3, 1, 1, dtype=torch.float64))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [False, True])
def test_autocast_is_as_exact_as_the_plain_form(mode, training):
    module = attention(mode).float().train(training)
    x = torch.randn(2, 3, 9, 8)
    fast, plain = copy.deepcopy(module), copy.deepcopy(module)
    exact = results(module.double(), x.double())
    with torch.autocast("cpu", torch.bfloat16):
        ours = results(fast, x)
        with plain_form(plain):
            literal = results(plain, x)
    for one, other, expected in zip(ours, literal, exact, strict=True):
        assert one.dtype == other.dtype
        error, usual = ((y - expected).abs().max().item() for y in (one, other))
        assert error <= 2 * usual + 0.02 * max(1, expected.abs().max().item())
    for name, value in statistics(fast).items():
        assert_close(value.to(torch.bfloat16), statistics(plain)[name])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [False, True])
def test_merged_weights_use_row_wise_attention_too(mode, training):
    module = attention(mode)
    module.train()(torch.randn(2, 3, 7, 6, dtype=torch.float64))
    merged = merge(module).train(training)
    assert isinstance(merged.attention.norm2, torch.nn.Identity)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    y = merged(x)
    with plain_form(merged):
        assert_close(y, merged(x))


class Made(TorchDispatchMode):
    """Bytes of the tensors that operations make."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes = sizes

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.sizes += [x.untyped_storage().nbytes() for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        return result


@pytest.fixture
def held(monkeypatch):
    """Bytes of the largest tensor, also within a walk, and of all that is kept for the backward pass."""
    sizes, walked = [], []

    def watched(walk):
        def inner(*args):
            walked.append(walk)
            with Made(sizes):
                return walk(*args)

        return inner

    for walk in (_patchwise.reduction, _patchwise.weighing, _pairwise.products, _pairwise.weighing):
        for name in ("forward", "backward"):
            monkeypatch.setattr(walk, name, watched(getattr(walk, name)))

    def measure(module, x):
        kept = {}

        def keep(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        sizes.clear()
        walked.clear()
        with Made(sizes), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            module(x).sum().backward()
        return max(sizes), sum(kept.values()), len(walked)

    return measure


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [False, True])
def test_no_tensor_of_a_windows_size_is_held(held, mode, training):
    """At most a row of places of the widest map, q - k with positions; a window is seven such rows."""
    kernel, channels, extent = 7, 64, 13
    module = attention(mode, channels=channels, keys=channels, kernel=kernel).float().train(training)
    x = torch.randn(2, 3, extent, extent)
    row = 4 * kernel * len(x) * extent**2 * (channels + 2)
    largest, kept, walks = held(module, x)
    assert walks >= 2
    assert largest <= row
    assert kept <= 3 * row
    with plain_form(module):
        largest, kept, walks = held(module, x)
    assert not walks
    assert largest > 0.9 * kernel * row
    assert kept > 0.9 * kernel * row


def walks():
    """Each walk, a window and inputs: B 2, a padded map of 5 x 4, R and D 5, C and X 24, G 3."""
    window = Window(3, 1, 1)

    def some(*shape):
        return torch.randn(*shape, requires_grad=True)

    yield _patchwise.reduction, window, [some(2, 5, 4, 5), some(3, 3, 5), some(3, 3, 5), some(3, 3, 5, 3)]
    yield _patchwise.weighing, window, [some(2, 3, 2, 3), some(2, 5, 4, 24), some(3, 3, 3, 24)]
    yield _pairwise.products, window, [some(2, 3, 2, 5), some(2, 5, 4, 5)]
    yield _pairwise.products, window, [some(2, 3, 2, 5), some(2, 5, 4, 5), torch.zeros(5)]
    layers = [some(5, 5), some(5), some(24, 5), some(24)]
    yield _pairwise.weighing, window, [some(2, 3, 2, 5), some(2, 5, 4, 5), some(2, 5, 4, 24), *layers]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch itself reads it
@pytest.mark.parametrize("case", range(5))
def test_custom_operators_pass_torchs_opcheck(case):
    """Of schema, shapes, strides, types and gradients, by torch's own check."""
    walk, window, inputs = list(walks())[case]
    torch.library.opcheck(walk.operator, (window, inputs))
