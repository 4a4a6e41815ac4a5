"""No bf16 convolution with a kernel far beyond its map is trained on a CPU, whoever calls it.

What is wrong there shows on CPUs with AVX-512 alone; the types that reach torch's convolutions show everywhere.
"""

import itertools
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from acmix_nas.models import build_model
from acmix_nas.space import load_space
from acmix_nas.tasks.classification import TASK
from acmix_nas.train import Budget
from acmix_nas.train.gradients import reaches_far, tiny_maps_in_float32
from acmix_nas.train.loader import Batch
from acmix_nas.train.step import TrainStep

WRONG = [
    *[((1, 1), (taps, taps), 2) for taps in range(2, 10)],
    *[((pixels, pixels), (taps, taps), 1) for taps in range(5, 10) for pixels in range(1, 4)],
    ((2, 2), (7, 7), 1),
]
"""Map, kernel and stride of bf16 convolutions whose weight gradient was wrong on a CPU with AVX-512."""
RIGHT = [((1, 1), (3, 3), 1), ((14, 14), (3, 3), 2), ((7, 7), (7, 7), 1), ((28, 28), (5, 5), 2), ((1, 1), (1, 1), 2)]


class Convolutions(TorchDispatchMode):
    """Keeps (dtype, map, kernel, stride, dilation, is depthwise) of what torch's own operators are given.

    `calls` are (shape of x, shape of the weight, stride, padding, dilation, groups) of those that are not transposed.
    """

    def __init__(self):
        super().__init__()
        self.seen = []
        self.calls = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding, dilation, transposed, _, groups = args
            y = func(*args)
            if not transposed:
                axes = (tuple(axis) for axis in (stride, padding, dilation))
                self.calls.add((tuple(x.shape), tuple(weight.shape), *axes, groups))
            sizes = (y if transposed else x).shape[2:]
            depthwise = weight.shape[1] == 1 and groups == weight.shape[0]
            self.seen.append((weight.dtype, tuple(sizes), tuple(weight.shape[2:]), stride, dilation, depthwise))
            return y
        return func(*args, **(kwargs or {}))

    def forbidden(self):
        return [call for call in self.seen if call[0] == torch.bfloat16 and not call[5] and reaches_far(*call[1:5])]


@contextmanager
def watched_step(model, size, *, precision="bf16", channels=3, **changes):
    """A step of a network, the convolutions that reach torch, forward only, as autograd holds no others."""
    budget = Budget(epochs=1, images=4, batch_size=4, learning_rate=1e-3, precision=precision, **changes)
    step = TrainStep(model.train(), budget, "cpu", TASK)
    images = torch.randn(4, channels, size, size).contiguous(memory_format=torch.channels_last)
    with Convolutions() as convolutions:
        step(Batch(images, torch.arange(4) % 2, 4, 4), 0)
    yield convolutions


@pytest.mark.parametrize(("map_size", "kernel_size", "stride"), WRONG)
def test_what_was_seen_wrong_is_far(map_size, kernel_size, stride):
    assert reaches_far(map_size, kernel_size, stride)


@pytest.mark.parametrize(("map_size", "kernel_size", "stride"), RIGHT)
def test_what_was_seen_right_and_matters_is_not(map_size, kernel_size, stride):
    assert not reaches_far(map_size, kernel_size, stride)


def test_axes_and_dilation_count():
    assert reaches_far((4, 4), (3, 3), 1, 2)
    assert not reaches_far((5, 5), (3, 3), 1, 2)
    assert reaches_far((9, 1), (3, 3), (1, 2))
    assert not reaches_far((1, 9), (3, 3), (1, 2))


class Pyramid(nn.Module):
    """The last levels of torchvision's RetinaNet, on a small image."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=4, padding=1)
        self.last = LastLevelP6P7(16, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        x = self.stem(x)
        levels, _ = self.last([x], [x], ["0"])
        return self.head(sum(level.mean((2, 3)) for level in levels))


def test_the_last_levels_of_a_pyramid_are_trained_in_float32():
    with watched_step(Pyramid(), 8) as convolutions:
        types = [(call[0], call[1]) for call in convolutions.seen]
    # A map of 2 x 2 becomes 1 x 1, which a kernel of 3 with stride 2 reads again.
    assert types == [(torch.bfloat16, (8, 8)), (torch.float32, (2, 2)), (torch.float32, (1, 1))]


@pytest.mark.parametrize(
    ("layer", "dtype"),
    [
        (nn.Conv2d(3, 16, 7, padding=3), torch.float32),
        (nn.Conv2d(3, 16, 7, padding="same"), torch.float32),
        (nn.Conv2d(3, 16, (1, 7), padding=(0, 3)), torch.float32),
        (nn.Conv2d(3, 16, 3, padding=2, dilation=2), torch.float32),
        (nn.Conv2d(3, 16, 3, padding=1), torch.bfloat16),
        (nn.Conv2d(3, 3, 7, padding=3, groups=3), torch.bfloat16),
        (nn.ConvTranspose2d(3, 16, 5, padding=2), torch.float32),
        (nn.ConvTranspose2d(3, 16, 2, stride=2), torch.bfloat16),
        (nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 16, 9, padding=4), nn.Unflatten(2, (2, -1))), torch.float32),
        (nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Conv3d(3, 16, 5, padding=2), nn.Flatten(1, 2)), torch.float32),
    ],
)
def test_layers_of_torch_are_seen(layer, dtype):
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 3, 2, 2))
    with watched_step(model, 2) as convolutions:
        assert [call[0] for call in convolutions.seen] == [dtype]


def test_a_network_that_is_itself_bf16_is_seen_without_autocast():
    layer, x = nn.Conv2d(3, 16, 7, padding=3).bfloat16(), torch.randn(2, 3, 2, 2).bfloat16()
    with tiny_maps_in_float32(), Convolutions() as convolutions:
        y = layer(x)
    assert [call[0] for call in convolutions.seen] == [torch.float32]
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, layer(x), atol=2e-2, rtol=2e-2)


def test_torch_is_left_as_it_was():
    before = nn.functional.conv2d, torch.conv2d, nn.functional.conv_transpose3d
    with tiny_maps_in_float32():
        assert nn.functional.conv2d is not before[0]
        with pytest.raises(RuntimeError), tiny_maps_in_float32():
            nn.functional.conv2d(torch.zeros(1, 2, 3, 3), torch.zeros(4, 5, 3, 3))
        assert nn.functional.conv2d is not before[0]
    assert (nn.functional.conv2d, torch.conv2d, nn.functional.conv_transpose3d) == before


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_outside_these_shapes_nothing_changes_a_bit(precision):
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 8, 3, padding=1), torch.randn(2, 3, 5, 5)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = layer(x)
        with tiny_maps_in_float32():
            assert torch.equal(layer(x), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
def test_a_compiled_network_computes_them_in_float32_too():
    model = nn.Sequential(nn.Conv2d(3, 16, 7, padding=3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    x, graphs = torch.randn(4, 3, 2, 2), []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    with tiny_maps_in_float32(), torch.autocast("cpu", torch.bfloat16):
        torch.compile(model, backend=keep)(x)
    (graph,) = graphs
    assert any("float" in str(node.target) for node in graph.graph.nodes)
    assert "conv" in str(graph.graph)


def placed(space, **fields):
    """The space's network with both paths everywhere and these fields wherever they may be chosen."""

    def choose(choice):
        name = choice.name.rpartition(".")[2]
        wanted = {"combine": "learned", "operator": "acmix", **fields}.get(name)
        return wanted if wanted in choice.options else choice.options[0]

    return space.build(space.sample(choose))


def variants(space):
    fields = {"conv_impl", "conv_kernel", "head_dim", "num_heads"}
    options = {}
    for choice in space.choices:
        name = choice.name.rpartition(".")[2]
        if name in fields:
            options.setdefault(name, []).extend(x for x in choice.options if x not in options.get(name, []))
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def gradient_of_a_weight(x, weight, rest, dtype, memory_format):
    x, weight = x.to(dtype).contiguous(memory_format=memory_format), weight.detach().to(dtype).requires_grad_()
    with tiny_maps_in_float32(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
        y = nn.functional.conv2d(x, weight, None, *rest)
    y.backward(torch.linspace(0.5, 1, y.numel()).reshape(y.shape).to(y.dtype))
    return weight.grad


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.nightly) for name in ("swin_t", "pvt_tiny")), "resnet26", "san10"]
)
def test_no_network_of_a_space_trains_a_bf16_kernel_far_beyond_its_map(name):
    space = load_space(name)
    proxy, calls = space.proxies["cpu"], set()
    for fields in variants(space):
        model = build_model(
            proxy.shrink(placed(space, **fields)),
            num_classes=2,
            in_chans=1,
            img_size=proxy.input_size,
            patch_size=proxy.patch_size,
            width=proxy.width,
        )
        with watched_step(model, proxy.input_size, channels=1) as convolutions:
            assert convolutions.seen
            assert convolutions.forbidden() == [], fields
            calls |= convolutions.calls
    for shape, sizes, *rest in calls:
        x, weight = torch.rand(shape), torch.randn(sizes)  # nothing cancels in sums of positive products
        expected = gradient_of_a_weight(x, weight, rest, torch.float64, torch.contiguous_format)
        for memory_format in (torch.contiguous_format, torch.channels_last):
            found = gradient_of_a_weight(x, weight, rest, torch.float32, memory_format)
            assert (found - expected).norm() < 0.02 * expected.norm(), (shape, sizes, rest)
