"""The gradient that a step takes is the network's own: in bf16 it points where float64's does, in every host."""

import copy
from functools import cache

import pytest
import timm
import torch
from by_night import nightly_but
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import acmix_nas.models  # noqa: F401 (names for timm)
from acmix_nas.data import load_splits
from acmix_nas.models import build_model
from acmix_nas.space import load_space
from acmix_nas.tasks.classification import TASK
from acmix_nas.train import Budget
from acmix_nas.train.augment import normalise
from acmix_nas.train.loader import Batch
from acmix_nas.train.step import TrainStep

IMAGES = 32
SPACES = ("swin_t", "pvt_tiny", "resnet26", "san10")
NETWORKS = [(space, label) for space in SPACES for label in load_space(space).first]
PAPERS = [(space, label) for space, label in NETWORKS if label == "paper"]


@cache
def batch():
    """Real images: what is constant in them, as their black ground, is hard on norms."""
    splits = load_splits(None, input_size=28, train_images=IMAGES, seed=0, with_report=False, search_images=10)
    images = normalise(splits.train.images, torch.tensor(splits.mean), torch.tensor(splits.std))
    return Batch(images.contiguous(memory_format=torch.channels_last), splits.train.targets, IMAGES, IMAGES)


def proxy_network(space, label, seed=0):
    space = load_space(space)
    proxy = space.proxies["cpu"]
    torch.manual_seed(seed)
    return build_model(
        proxy.shrink(space.build(space.first[label])),
        num_classes=10,
        in_chans=1,
        img_size=proxy.input_size,
        patch_size=proxy.patch_size,
        width=proxy.width,
    ).to(memory_format=torch.channels_last)


def gradient_of_a_step(model, precision):
    budget = Budget(
        epochs=1,
        images=IMAGES,
        batch_size=IMAGES,
        optimizer="sgd",
        learning_rate=0.0,
        label_smoothing=0.0,
        clip_norm=None,
        precision=precision,
    )
    TrainStep(model.train(), budget, "cpu", TASK)(batch(), 0)
    return torch.cat([parameter.grad.double().flatten() for parameter in model.parameters()])


def gradient_in_float64(model):
    model = copy.deepcopy(model).double().train()
    F.cross_entropy(model(batch().images.double()), batch().targets).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("network", nightly_but(*PAPERS, of=NETWORKS), ids=" ".join)
def test_a_bf16_step_goes_where_float64_would(network):
    model = proxy_network(*network)
    expected = gradient_in_float64(model)
    assert F.cosine_similarity(gradient_of_a_step(model, "bf16"), expected, dim=0) > 0.99


class Operators(TorchDispatchMode):
    """Keeps the types that convolutions and matrix products are given, with the shape of their weight."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.convolution.default, torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            weight = args[1] if func is not torch.ops.aten.addmm.default else args[2]
            self.seen.append((weight.dtype, tuple(weight.shape)))
        return func(*args, **(kwargs or {}))


def operators(model):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), Operators() as seen:
        y = model(torch.randn(2, 1, 28, 28))
    assert y.dtype == torch.bfloat16
    return seen.seen


def test_autocast_leaves_what_resnet_reads_first_in_float32():
    model = proxy_network("resnet26", "plain host")
    exact = [tuple(model.conv1.weight.shape)]
    exact += [
        tuple(block.downsample[0].weight.shape) for block in model.modules() if getattr(block, "downsample", None)
    ]
    seen = operators(model)
    assert [shape for dtype, shape in seen if dtype == torch.float32] == exact
    assert sum(dtype == torch.bfloat16 for dtype, _ in seen) > 2 * len(exact)


@pytest.mark.parametrize("label", ["plain host", "plain pairwise", "paper"])
def test_autocast_reaches_the_head_of_san_alone(label):
    model = proxy_network("san10", label)
    assert [shape for dtype, shape in operators(model) if dtype == torch.bfloat16] == [(512, 10)]


def test_what_stays_in_float32_changes_nothing_without_autocast():
    model = proxy_network("resnet26", "plain host").eval()
    layer, x = model.conv1, torch.randn(2, 1, 28, 28)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, None, layer.stride, layer.padding))


@pytest.mark.parametrize(("name", "dtype"), [("acmix_san10", torch.float32), ("acmix_resnet26", torch.bfloat16)])
def test_the_maps_of_a_backbone_have_one_type_under_autocast(name, dtype):
    """timm takes a stem apart into its layers here."""
    model = timm.create_model(name, features_only=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert [features.dtype for features in model(torch.randn(2, 3, 64, 64))] == [dtype] * 5
