"""Networks that score every pixel: published sizes to the digit, heads against independent ones, images of any size."""

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from by_night import nightly_but
from small_networks import small_arch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork

from acmix_nas import Arch, registry
from acmix_nas.cost import breakdown, count, total
from acmix_nas.cost.counters import cross_check
from acmix_nas.cost.where import foreign_parts
from acmix_nas.errors import AcmixError, ArchError
from acmix_nas.heads.semantic_fpn import Pyramid
from acmix_nas.heads.upernet import UPerNet
from acmix_nas.models import build_features, named_arch
from acmix_nas.segmentor import Backbone, Segmentor, build_segmentor, padded

PVT, PVT_S = "acmix_pvt_tiny", "acmix_pvt_small"
SWIN, SWIN_S = "acmix_swin_tiny_patch4_window7_224", "acmix_swin_small_patch4_window7_224"
TOKEN = 1024
"""Parameters of PVT's class token and its position, which the published counts hold and dense networks do not read."""


def plain(name: str) -> Arch:
    whole = named_arch(name)
    stages = [[mixer.having(combine="att") for mixer in stage] for stage in whole.stages]
    return Arch.canonical(host=whole.host, stages=stages, conv_on=None)


def on_meta(arch: Arch | str, head: str, num_classes: int = 150) -> Segmentor:
    with torch.device("meta"):
        return build_segmentor(arch, head=head, num_classes=num_classes).eval()


@pytest.mark.parametrize(
    ("name", "head", "size", "params", "giga_macs"),
    [
        (PVT, "semantic_fpn", 512, 16_981_910 - TOKEN, 33.190),
        (PVT_S, "semantic_fpn", 512, 28_238_486 - TOKEN, 44.474),
        (SWIN, "upernet", 512, 59_941_862, 236.865),
        (SWIN, "upernet", (512, 2048), 59_941_862, 944.385),
        (SWIN_S, "upernet", 512, 81_259_766, 260.584),
        (SWIN_S, "upernet", (512, 2048), 81_259_766, 1037.417),
    ],
)
def test_plain_hosts_are_as_published(name, head, size, params, giga_macs):
    found = count(on_meta(plain(name), head), size)
    assert found.params == params
    assert found.macs / 1e9 == pytest.approx(giga_macs, abs=5e-4)


def test_the_class_token_is_the_difference_to_the_published_count():
    with torch.device("meta"):
        net = build_features(plain(PVT), feature_cls="getter")
        whole = Segmentor(Backbone(net, norms=False), "semantic_fpn", 150)
    assert sum(weight.numel() for weight in whole.parameters()) == 16_981_910
    assert count(whole, 512).macs / 1e9 == pytest.approx(33.197, abs=5e-4)


@pytest.mark.parametrize(("name", "params"), [(SWIN, 60_303_416), (SWIN_S, 81_998_588)])
def test_acmix_adds_what_its_paths_have(name, params):
    assert count(on_meta(named_arch(name), "upernet"), 512).params == params


@pytest.mark.parametrize("head", registry.names("heads"))
@pytest.mark.parametrize("host", nightly_but("pvt"))
def test_arithmetic_and_both_counters_agree(host, head):
    model = build_segmentor(small_arch(host), head=head, num_classes=7) if host != "swin" else None
    if model is None:  # four stages are needed
        whole = named_arch(SWIN)
        arch = Arch.canonical(host="swin", stages=[stage[:1] for stage in whole.stages], conv_on=whole.conv_on)
        model = build_segmentor(arch, head=head, num_classes=7)
    found = cross_check(model.eval(), (64, 96))
    assert found.agree is True, found
    assert total(breakdown(model, (64, 96))).macs == found.macs


@pytest.mark.parametrize(
    ("network", "head"),
    [
        (PVT, "semantic_fpn"),
        ("acmix_resnet26", "upernet"),
        ("swin_tiny_patch4_window7_224", "semantic_fpn"),
        ("resnet18", "upernet"),
    ],
)
def test_scores_have_the_size_of_the_image_whatever_it_is(network, head):
    given = named_arch(network) if network.startswith("acmix") else network
    model = build_segmentor(given, head=head, num_classes=3).eval()
    with torch.no_grad():
        for size in [(64, 64), (33, 70)]:
            assert model(torch.randn(2, 3, *size)).shape == (2, 3, *size)


def test_padding_is_that_of_a_padded_image():
    torch.manual_seed(0)
    model = build_segmentor(named_arch("acmix_resnet26"), head="semantic_fpn", num_classes=3).eval()
    image = torch.randn(1, 3, 40, 75)
    whole = nn.functional.pad(image, (0, 21, 0, 24))
    assert padded((40, 75)) == whole.shape[-2:] == (64, 96)
    with torch.no_grad():
        torch.testing.assert_close(model(image), model(whole)[..., :40, :75])


def test_upernet_is_that_of_segmentation_models():
    torch.manual_seed(0)
    channels = [8, 12, 16, 24]
    head = UPerNet(channels, 5).eval()
    oracle = smp.decoders.upernet.decoder.UPerNetDecoder([3, 4, *channels], 5, decoder_channels=512).eval()
    oracle.feature_norms = nn.ModuleList(nn.Identity() for _ in channels)
    theirs = [
        *[block[1] for block in oracle.psp.blocks],
        oracle.psp.out_conv,
        *[block.conv_norm_relu for block in reversed(oracle.fpn_lateral_blocks)],
        *reversed(oracle.fpn_conv_blocks),
        oracle.fusion_block,
    ]
    ours = [*head.pools, head.bottleneck, *head.laterals, *head.outputs, head.fusion]
    for mine, other in zip(ours, theirs, strict=True):
        nn.init.uniform_(mine[1].running_mean, -0.5, 0.5)
        other.load_state_dict(mine.state_dict())
    maps = [torch.randn(2, width, 48 >> level, 32 >> level) for level, width in enumerate(channels)]
    with torch.no_grad():
        expected = head.classifier(oracle([maps[0], maps[0], *maps]))
        torch.testing.assert_close(head(maps), expected, rtol=1e-5, atol=1e-5)


def test_the_pyramid_is_that_of_torchvision():
    torch.manual_seed(0)
    channels = [8, 12, 16, 24]
    ours, oracle = Pyramid(channels), FeaturePyramidNetwork(channels, 256)
    for mine, other in [(ours.laterals, oracle.inner_blocks), (ours.outputs, oracle.layer_blocks)]:
        for layer, block in zip(mine, other, strict=True):
            block[0].load_state_dict(layer.state_dict())
    maps = {str(i): torch.randn(2, width, 48 >> i, 32 >> i) for i, width in enumerate(channels)}
    for mine, other in zip(ours(list(maps.values())), oracle(maps).values(), strict=True):
        torch.testing.assert_close(mine, other)


def test_semantic_fpn_is_its_definition():
    torch.manual_seed(0)
    channels = [8, 12, 16, 24]
    head = registry.load("heads", "semantic_fpn").build(channels, 4).eval()
    maps = [torch.randn(1, width, 32 >> level, 48 >> level) for level, width in enumerate(channels)]
    with torch.no_grad():
        levels = head.pyramid(maps)
        total_map = head.levels[0][0](levels[0])
        for level in (1, 2, 3):
            y = levels[level]
            for step in range(level):
                y = nn.functional.interpolate(head.levels[level][step](y), scale_factor=2, mode="bilinear")
            total_map = total_map + y
        torch.testing.assert_close(head(maps), head.classifier(total_map))


def test_upernet_has_a_second_output_in_training_alone():
    model = build_segmentor("resnet18", head="upernet", num_classes=3)
    images = torch.randn(2, 3, 64, 64)
    first, second = model.train()(images)
    assert first.shape == second.shape == (2, 3, 64, 64)
    (first.mean() + 0.4 * second.mean()).backward()
    assert all(weight.grad is not None for weight in model.head.parameters())
    assert model.eval()(images).shape == (2, 3, 64, 64)


def test_upernet_is_not_trained_on_one_image():
    model = build_segmentor("resnet18", head="upernet", num_classes=3).train()
    with pytest.raises(ArchError, match="trained on 2 images or more"):
        model(torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize("name", ["vgg11", "maxvit_tiny_tf_224"])
def test_networks_of_timm_with_few_arguments_or_one_size_run(name):
    model = build_segmentor(name, head="semantic_fpn", num_classes=3, img_size=224).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 224, 224)).shape == (1, 3, 224, 224)


@pytest.mark.parametrize("head", registry.names("heads"))
def test_modules_of_a_network_of_others_sum_to_the_whole(head):
    model = build_segmentor("resnet18", head=head, num_classes=3).eval()
    assert sum(part.macs for part in foreign_parts(model, (64, 64))) == cross_check(model, 64).macs_torch


def test_timm_swin_and_ours_have_the_same_maps():
    """Its maps are NHWC, ours NCHW; both get norms."""
    torch.manual_seed(0)
    theirs = build_segmentor("swin_tiny_patch4_window7_224", head="semantic_fpn", num_classes=3)
    ours = build_segmentor(plain(SWIN), head="semantic_fpn", num_classes=3)
    assert theirs.backbone.channels == ours.backbone.channels == [96, 192, 384, 768]
    assert [*theirs.backbone.norms.state_dict()] == [*ours.backbone.norms.state_dict()]
    count_of = [sum(weight.numel() for weight in model.parameters()) for model in (theirs, ours)]
    assert count_of[0] == count_of[1]


def test_what_has_no_four_maps_is_refused():
    with pytest.raises(ArchError, match="strides 4, 8, 16, 32; this network has them at 16"):
        build_segmentor("vit_tiny_patch16_224", head="upernet", num_classes=3)
    with pytest.raises(AcmixError, match="heads has no 'unet'; there are semantic_fpn, upernet"):
        build_segmentor("resnet18", head="unet", num_classes=3)
    assert "resnet18" in timm.list_models()
