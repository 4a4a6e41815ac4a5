"""What timm asks of every model of its own, asked of one network of each host at full width."""

import math

import pytest
import timm
import torch
from by_night import nightly_but
from timm.layers import (
    create_feature_extractor,
    get_channel_dim,
    get_graph_node_names,
    get_notrace_functions,
    get_notrace_modules,
    get_spatial_dim,
)
from timm.models import FeatureInfo
from torch import nn
from torchvision.models import feature_extraction

from acmix_nas import convert, registry
from acmix_nas.models import named_arch

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*nodes obtained by tracing:UserWarning")]
"""torchvision's, of every network with stochastic depth."""
NAMES = [next(iter(registry.load("hosts", host).MODELS)) for host in registry.names("hosts")]


@pytest.fixture(params=nightly_but(NAMES[0], NAMES[-1], of=NAMES))
def name(request):
    return request.param


def layout(model):
    """Axes of height and width, and of channels."""
    output_fmt = getattr(model, "output_fmt", "NCHW")
    return get_spatial_dim(output_fmt), get_channel_dim(output_fmt)


def check_maps(maps, info, size, axes):
    (down, across), channels = axes
    assert len(maps) == len(info.channels()) >= 4
    for width, reduction, found in zip(info.channels(), info.reduction(), maps, strict=True):
        assert found.shape[channels] == width
        extents = (found.shape[down], found.shape[across])
        assert extents == tuple(math.ceil(extent / reduction) for extent in size)
        assert found.isfinite().all()


@torch.no_grad()
def test_forward_also_with_checkpoints(name):
    model = timm.create_model(name).eval()
    image = torch.randn(1, *model.default_cfg["input_size"])
    logits = model(image)
    assert logits.shape == (1, 1000)
    assert logits.isfinite().all()
    model.set_grad_checkpointing()
    torch.testing.assert_close(model(image), logits, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient(name):
    model = timm.create_model(name, num_classes=42).train()
    logits = model(torch.randn(2, 3, 96, 96))
    logits.mean().backward()
    assert logits.shape == (2, 42)
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@torch.no_grad()
def test_the_default_cfg_says_what_the_model_is(name):
    model = timm.create_model(name).eval()
    cfg = model.default_cfg
    (down, across), channels = layout(model)
    image = torch.randn(1, *cfg["input_size"])
    assert {f"{cfg['classifier']}.weight", f"{cfg['first_conv']}.weight"} <= set(model.state_dict())
    features = model.forward_features(image)
    before = model.forward_head(features, pre_logits=True)
    assert before.shape == (1, model.head_hidden_size)
    tokens = features.ndim == 3  # of PVT: the class token and the pixels
    assert features.shape[-1 if tokens else channels] == model.num_features
    if not tokens:
        assert (features.shape[down], features.shape[across]) == cfg["pool_size"]
    model.reset_classifier(0)
    assert model.num_classes == 0
    torch.testing.assert_close(model(image), before)
    model.reset_classifier(0, "")
    torch.testing.assert_close(model(image), features)
    whole = timm.create_model(name, num_classes=0, global_pool="").eval()
    assert whole(image).shape == features.shape
    model.reset_classifier(7, "avg")
    assert model(image).shape == (1, 7)


@torch.no_grad()
@pytest.mark.parametrize("cls", [None, "getter", "fx"])
def test_features_only(name, cls):
    size = (96, 160)
    options = {} if cls is None else {"feature_cls": cls}
    torch.manual_seed(0)
    model = timm.create_model(name, features_only=True, **options).eval()
    image = torch.randn(1, 3, *size)
    maps = model(image)
    check_maps(maps, model.feature_info, size, layout(model))
    torch.manual_seed(0)
    usual = timm.create_model(name, features_only=True).eval()
    as_nchw = layout(usual)[1] != layout(model)[1]  # the getter gives NCHW, whatever the network's own layout
    expected = [found.permute(0, 3, 1, 2) if as_nchw else found for found in usual(image)]
    torch.testing.assert_close(list(maps), expected)


@torch.no_grad()
def test_some_features(name):
    model = timm.create_model(name, features_only=True, out_indices=(1, 3)).eval()
    info = FeatureInfo(timm.create_model(name).feature_info, (1, 3))
    assert (model.feature_info.channels(), model.feature_info.reduction()) == (info.channels(), info.reduction())
    assert len(model(torch.randn(1, 3, 64, 64))) == 2


@torch.no_grad()
def test_forward_intermediates(name):
    model = timm.create_model(name).eval()
    image = torch.randn(1, 3, 96, 160)
    last, maps = model.forward_intermediates(image, output_fmt="NCHW")
    check_maps(maps, FeatureInfo(model.feature_info, len(model.feature_info)), (96, 160), ((2, 3), 1))
    torch.testing.assert_close(last, model.forward_features(image))
    some = model.forward_intermediates(image, indices=[0, 2], intermediates_only=True, stop_early=True)
    torch.testing.assert_close(some, [maps[0], maps[2]])
    torch.testing.assert_close(model.forward_intermediates(image, indices=2, intermediates_only=True), maps[-2:])
    model.set_grad_checkpointing()
    torch.testing.assert_close(model.forward_intermediates(image)[0], last, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("indices", [[1], [0, 2], [3]])
def test_prune_intermediate_layers(name, indices):
    model = timm.create_model(name).eval()
    image = torch.randn(1, 3, 64, 64)
    before = sum(parameter.numel() for parameter in model.parameters())
    maps = model.forward_intermediates(image, indices=indices, intermediates_only=True)
    assert model.prune_intermediate_layers(indices) == indices
    assert sum(parameter.numel() for parameter in model.parameters()) < before
    torch.testing.assert_close(model.forward_intermediates(image, indices=indices, intermediates_only=True), maps)


def test_checkpoints_change_no_gradient(name):
    model = timm.create_model(name, num_classes=3, drop_path_rate=0.0).eval()
    image, grads = torch.randn(1, 3, 64, 64), []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(image).square().sum().backward()
        grads.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(*grads)


@pytest.fixture(params=[False, True], ids=["", "constant shapes"])
def tracing(request):
    leaves = {"leaf_modules": get_notrace_modules(), "autowrap_functions": get_notrace_functions()}
    return leaves | ({"param_shapes_constant": True} if request.param else {})


@torch.inference_mode()
def test_torchvisions_extractor_computes_the_same(name, tracing):
    model = timm.create_model(name).eval()
    _, nodes = feature_extraction.get_graph_node_names(model, tracer_kwargs=tracing)
    extractor = feature_extraction.create_feature_extractor(model, [nodes[-1]], tracer_kwargs=tracing)
    for size in (128, 96):  # the graph is that of no size
        image = torch.randn(1, 3, size, size)
        (logits,) = extractor(image).values()
        assert torch.equal(logits, model(image))


def test_torchvisions_extractor_trains(name):
    tracing = {"leaf_modules": get_notrace_modules(), "autowrap_functions": get_notrace_functions()}
    model = timm.create_model(name, num_classes=42).train()
    nodes, _ = feature_extraction.get_graph_node_names(model, tracer_kwargs=tracing)
    extractor = feature_extraction.create_feature_extractor(model, [nodes[-1]], tracer_kwargs=tracing)
    (logits,) = extractor(torch.randn(2, 3, 96, 96)).values()
    logits.mean().backward()
    assert logits.shape == (2, 42)
    assert [key for key, parameter in extractor.named_parameters() if parameter.grad is None] == []


@torch.no_grad()
def test_a_mixer_is_a_node(name):
    """Or the block around it, of SAN."""
    model = timm.create_model(name).eval()
    mixers = [key for key, module in model.named_modules() if any(module is mixer for mixer in model.mixers())]
    nodes = [key.removesuffix(".mixer") for key in mixers]
    assert len(mixers) == len(named_arch(name).mixers)
    assert set(nodes) <= set(get_graph_node_names(model)[1])
    image, seen = torch.randn(1, 3, 64, 64), []
    extractor = create_feature_extractor(model, {nodes[-1]: "mixed"})
    model.get_submodule(nodes[-1]).register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(image)
    torch.testing.assert_close(extractor(image)["mixed"], seen[0])


@torch.no_grad()
def test_what_autocast_leaves_in_float32_stays_so_in_a_traced_network(name):
    model = timm.create_model(name, num_classes=5).eval()
    extractor = create_feature_extractor(model, [get_graph_node_names(model)[1][-1]])
    image = torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        (logits,) = extractor(image).values()
        assert torch.equal(logits, model(image))


@torch.no_grad()
def test_a_converted_transformer_is_traced_too():
    vit = timm.models.VisionTransformer(img_size=32, patch_size=8, embed_dim=12, depth=2, num_heads=3, num_classes=5)
    model = convert(vit.eval(), "blocks.*.attn")
    image = torch.randn(1, 3, 32, 32)
    extractor = create_feature_extractor(model, {"head": "logits", "blocks.0.attn": "mixed"})
    found = extractor(image)
    torch.testing.assert_close(found["logits"], model(image))
    assert isinstance(model.blocks[0].attn, nn.Module)
    assert found["mixed"].shape == (1, 17, 12)
