"""What ResNet, SAN and PVT are on their own; what every host must do is in tests/contracts."""

import random

import pytest
import timm
import torch
import torchvision
from timm.optim import param_groups_weight_decay
from torch.utils.flop_counter import FlopCounterMode

from acmix_nas import load_space
from acmix_nas.arch import Arch, Mixer
from acmix_nas.cost import breakdown, count, total
from acmix_nas.errors import ArchError
from acmix_nas.models import build_model, named_arch, plain_form

TINIEST = ["acmix_resnet26", "acmix_san10", "acmix_pvt_tiny"]

PAPER = {
    "acmix_resnet26": (10_487_816 - 464, 2.2165),
    "acmix_resnet38": (14_410_896 - 704, 2.8594),
    "acmix_resnet50": (18_333_976 - 944, 3.5023),
    "acmix_san10": (11_993_204, 1.8503),
    "acmix_san15": (16_412_022, 2.5731),
    "acmix_san19": (20_827_814, 3.2605),
    "acmix_pvt_tiny": (13_398_104, 2.0169),
    "acmix_pvt_small": (24_828_771, 3.9729),
}
"""Parameters and multiply-adds (G) at 224 pixels of the published formulation."""

PLAIN = {
    ("acmix_san10", "patchwise"): 11.841,
    ("acmix_san15", "patchwise"): 16.181,
    ("acmix_san19", "patchwise"): 20.518,
    ("acmix_san10", "pairwise"): 10.532,
    ("acmix_san15", "pairwise"): 14.065,
    ("acmix_san19", "pairwise"): 17.596,
    ("acmix_pvt_tiny", "global"): 13.229,
    ("acmix_pvt_small", "global"): 24.486,
}
"""Parameters (M) of the hosts without ACmix."""


def create(name, **options):
    """The named model, thin."""
    return timm.create_model(name, **{"width": 0.25, "num_classes": 5, **options}).eval()


def every_block(name, **fields):
    """The arch with these fields in every block."""
    whole = {"conv_kernel": 3, "conv_impl": "full", "conv_init": "shift", **fields}
    stages = [
        [mixer.having(**{"num_heads": mixer.num_heads or 4, **whole}) for mixer in stage]
        for stage in named_arch(name).stages
    ]
    return Arch.canonical(host=named_arch(name).host, stages=stages)


def with_convolutions(name):
    arch = named_arch(name)
    return Arch(host=arch.host, stages=tuple((Mixer(operator="conv"),) * depth for depth in arch.depths))


@pytest.mark.parametrize("name", PAPER)
def test_published_numbers(name):
    cost = count(named_arch(name))
    assert cost.params == PAPER[name][0]
    assert cost.macs / 1e9 == pytest.approx(PAPER[name][1], abs=5e-5)


@pytest.mark.parametrize(("name", "attention"), PLAIN)
def test_plain_hosts(name, attention):
    assert count(every_block(name, combine="att", attention=attention)).params / 1e6 == pytest.approx(
        PLAIN[name, attention], abs=5e-4
    )


@pytest.mark.parametrize("name", TINIEST)
@pytest.mark.parametrize("combine", ["att", "conv", "gated"])
def test_each_path_alone_is_counted_exactly(name, combine):
    arch = every_block(name, combine=combine)
    with torch.device("meta"):
        model = build_model(arch, img_size=64).eval()
        with FlopCounterMode(display=False) as counter, plain_form(model):
            model(torch.empty(1, 3, 64, 97))
    cost = count(model, (64, 97))
    assert cost.params == sum(parameter.numel() for parameter in model.parameters())
    unseen = total(breakdown(model, (64, 97))).unseen_macs
    assert 2 * (cost.macs - unseen) == counter.get_total_flops()
    assert cost.macs_deploy <= cost.macs


def test_convolutions_make_the_ordinary_resnet():
    """The same names as torchvision's, the same logits at any size."""
    theirs = torchvision.models.resnet50(num_classes=5).eval()
    ours = build_model(with_convolutions("acmix_resnet50"), num_classes=5).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 3, 97, 75)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image))


def test_resnet_has_torchvisions_names_around_the_operator():
    theirs = torchvision.models.resnet50().state_dict().keys()
    with torch.device("meta"):
        ours = timm.create_model("acmix_resnet50").state_dict().keys()
    assert {name for name in ours if ".conv2." not in name} == {name for name in theirs if ".conv2." not in name}
    blocks = {name.partition(".conv2.")[0] for name in theirs if ".conv2." in name}
    assert {name.partition(".conv2.")[0] for name in ours if ".conv2." in name} == blocks


@pytest.mark.parametrize("name", TINIEST)
@pytest.mark.parametrize("size", [(32, 32), (97, 133)])
def test_any_image_runs(name, size):
    model = create(name)
    with torch.no_grad():
        y = model(torch.randn(1, 3, *size))
    assert y.shape == (1, 5)
    assert y.isfinite().all()


@pytest.mark.parametrize(
    ("name", "channels", "reductions"),
    [
        ("acmix_resnet26", [16, 64, 128, 256, 512], [2, 4, 8, 16, 32]),
        ("acmix_san10", [16, 64, 128, 256, 512], [2, 4, 8, 16, 32]),
        ("acmix_pvt_tiny", [16, 32, 80, 128], [4, 8, 16, 32]),
    ],
)
def test_features_only(name, channels, reductions):
    image = torch.randn(1, 3, 64, 96)
    model = create(name, features_only=True)
    assert (model.feature_info.channels(), model.feature_info.reduction()) == (channels, reductions)
    shapes = [tuple(feature.shape) for feature in model(image)]
    assert shapes == [(1, c, 64 // r, 96 // r) for c, r in zip(channels, reductions, strict=True)]
    getter = create(name, features_only=True, feature_cls="getter", out_indices=(0, 2))
    assert [tuple(feature.shape) for feature in getter(image)] == [shapes[0], shapes[2]]


@pytest.mark.parametrize("name", TINIEST)
def test_forward_in_parts(name):
    model = create(name)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = model.forward_features(image)
        torch.testing.assert_close(model.forward_head(features), model(image))
        assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
        last, maps = model.forward_intermediates(image, norm=True)
        torch.testing.assert_close(last, features)
        pixels = features[:, 1:].transpose(1, 2) if features.ndim == 3 else features.flatten(2)
        torch.testing.assert_close(maps[-1].flatten(2), pixels)
        early = model.forward_intermediates(image, indices=[1], stop_early=True, intermediates_only=True)
        torch.testing.assert_close(early[0], maps[1])
        last, early = model.forward_intermediates(image, indices=[1], stop_early=True)
        torch.testing.assert_close(last if last.shape == maps[1].shape else last.movedim(-1, 1), maps[1])


@pytest.mark.parametrize("name", TINIEST)
def test_the_attributes_of_timm(name):
    model = create(name, in_chans=2)
    assert model.arch == named_arch(name)
    assert (model.num_classes, model.in_chans, model.get_classifier().out_features) == (5, 2, 5)
    assert model.default_cfg["input_size"] == (3, 224, 224)
    assert isinstance(model.get_submodule(model.default_cfg["first_conv"]), torch.nn.Conv2d)
    assert model.get_submodule(model.default_cfg["classifier"]) is model.get_classifier()
    groups = timm.models.group_parameters(model, model.group_matcher())
    assert sum(map(len, groups.values())) == len(list(model.parameters()))
    model.reset_classifier(7)
    assert model(torch.randn(1, 2, 32, 32)).shape == (1, 7)
    model.reset_classifier(0, "")
    assert model(torch.randn(1, 2, 32, 32)).ndim > 2
    assert count(model, 32).params == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", TINIEST)
def test_what_never_decays(name):
    model = create(name)
    _, decayed = param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(parameter)].rpartition(".")[2] for parameter in decayed["params"]} == {"weight"}


@pytest.mark.parametrize("name", TINIEST)
def test_grad_checkpointing_changes_nothing(name):
    model = create(name, drop_path_rate=0.0)
    image = torch.randn(2, 3, 32, 32)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(image).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_stochastic_depth():
    assert create("acmix_pvt_tiny").stages[-1].blocks[-1].drop_path2.drop_prob == pytest.approx(0.1)
    for name, path in (("acmix_resnet26", "layer4.0"), ("acmix_san10", "stages.4.blocks.0")):
        assert create(name, drop_path_rate=0.3).get_submodule(path).drop_path.drop_prob == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["acmix_resnet26", "acmix_san10"])
def test_stems_that_cannot_shrink_so(name):
    with pytest.raises(ArchError, match=r"patch_size, .* it is 3"):
        create(name, patch_size=3)


def test_first_stage_of_san_stays_its_own():
    first, *rest = named_arch("acmix_san10").stages
    assert {mixer.combine for mixer in first} == {"att"}
    assert {mixer.combine for stage in rest for mixer in stage} == {"learned"}


def test_a_class_token_needs_a_block_that_reads_it():
    """Convolution alone would leave it without the image: the head then reads the map's mean."""
    image = torch.randn(1, 3, 32, 32)
    for combine, token in (("att", True), ("learned", True), ("conv", False)):
        model = build_model(every_block("acmix_pvt_tiny", combine=combine), num_classes=5, width=0.25).eval()
        assert (model.cls_token is not None) == token
        assert model.global_pool == ("token" if token else "avg")
        assert not torch.allclose(model(image), model(image + 1), atol=1e-5)
    with pytest.raises(ArchError, match="global_pool is one of 'avg', '' in this network; it is 'token'"):
        model.reset_classifier(5, "token")


@pytest.mark.parametrize(("space", "name"), [(name.removeprefix("acmix_"), name) for name in TINIEST])
def test_spaces_hold_the_paper_and_train(space, name):
    space, draw = load_space(space), random.Random(0)
    assert space.build(space.first["paper"]) == named_arch(name)
    proxy = space.proxies["cpu"]
    for values in (space.first["plain host"], space.first["paper"], space.sample(lambda c: draw.choice(c.options))):
        arch = proxy.shrink(space.build(values))
        options = {"img_size": proxy.input_size, "patch_size": proxy.patch_size, "width": proxy.width}
        model = build_model(arch, num_classes=10, in_chans=1, **options).train()
        model(torch.randn(4, 1, proxy.input_size, proxy.input_size)).square().mean().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
