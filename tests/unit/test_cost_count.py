import subprocess
import sys

import pytest
import timm
import torch

from acmix_nas.arch import Arch, Mixer
from acmix_nas.cost import breakdown, count, total
from acmix_nas.errors import AcmixError, ArchError
from acmix_nas.models import build_model, merge, named_arch, plain_form
from acmix_nas.operators.acmix import count as count_acmix
from acmix_nas.parts import OPS

TINY = "acmix_swin_tiny_patch4_window7_224"
SMALL = "acmix_swin_small_patch4_window7_224"

PUBLISHED = {
    TINY: (28_649_908, 4.645e9),
    SMALL: (50_345_080, 8.993e9),
    "acmix_resnet26": (10_487_816 - 464, 2.2165e9),
    "acmix_resnet38": (14_410_896 - 704, 2.8594e9),
    "acmix_resnet50": (18_333_976 - 944, 3.5023e9),
}
"""Parameters, less position biases that do nothing, and multiply-adds of the published formulation at 224 pixels."""
UNSEEN = {"acmix_resnet26": 61.5e6, "acmix_resnet38": 98.3e6, "acmix_resnet50": 135.2e6}
"""Multiply-adds of local attention, which counters of the published code miss."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name):
    cost = count(named_arch(name))
    assert cost.params == PUBLISHED[name][0]
    assert cost.macs == pytest.approx(PUBLISHED[name][1], rel=2e-4)
    assert cost.input_size == 224
    assert total(breakdown(named_arch(name))).unseen_macs == pytest.approx(UNSEEN.get(name, 0), abs=0.05e6)


def test_the_parts_of_swin_tiny():
    """Its convolution path is 0.15 G; stage I is 3 C^2 HW in every block, the MLP 8 C^2 HW."""
    parts = breakdown(named_arch(TINY))
    assert [part.module for part in parts[:6]] == [
        "patch_embed.proj", "patch_embed.norm", "layers.0.blocks.0.norm1", "layers.0.blocks.0.attn.qkv",
        "layers.0.blocks.0.attn.attention", "layers.0.blocks.0.attn.convolution",
    ]  # fmt: skip
    by_op = {op: total(part for part in parts if part.op == op) for op in OPS}
    unit = sum(depth * (96 * 56) ** 2 for depth in (2, 2, 6, 2))
    assert by_op["projections"].macs == 3 * unit
    assert by_op["mlp"].macs == 8 * unit
    assert by_op["convolution"].macs / 1e9 == pytest.approx(0.15, abs=0.01)
    assert sum(sums.params for sums in by_op.values()) == PUBLISHED[TINY][0]
    assert [part.stage for part in parts if part.op == "attention"] == [0, 0, 1, 1, *[2] * 6, 3, 3]
    assert {part.stage for part in parts if not part.module.startswith("layers.")} == {None}


def test_a_dense_convolution_is_of_the_convolution_path():
    arch = Arch.canonical(host="resnet", stages=[[Mixer(operator="conv")] * depth for depth in (1, 2, 4, 1)])
    parts = breakdown(arch)
    dense = [part for part in parts if part.op == "convolution"]
    assert [part.module for part in dense[:2]] == ["layer1.0.conv2", "layer2.0.conv2"]
    assert total(dense).params == 9 * (64**2 + 2 * 128**2 + 4 * 256**2 + 512**2)
    assert total(dense).macs == 9 * 8 * (64 * 56) ** 2
    assert {part.op for part in parts} == {"convolution", "mlp", "other"}


def test_the_kernels_of_swin_tiny():
    """0.15, 1.00 and 3.64 G for the whole convolution path with `full` (docs/operator.md)."""
    plain = count(_tiny(combine="att")).macs
    path = [(count(_tiny(conv_kernel=k)).macs - plain) / 1e9 for k in (3, 5, 7)]
    assert path == pytest.approx([0.15, 1.00, 3.64], abs=0.01)


def test_implementations_by_hand():
    """N = 3, d = 5, k = 3 on 7 x 4 pixels at stride 1: fc 3N k^2 d HW, then the kernels."""
    fc = 9 * 9 * 5 * 28
    kernels = {"shift": 0, "groupconv": 5 * 81 * 28, "learnable": 5 * 81 * 28, "full": 15 * 81 * 28}
    for impl, expected in kernels.items():
        mixer = Mixer.canonical(conv_kernel=3, num_heads=3, conv_impl=impl, conv_init="shift", combine="conv")
        parts = {part.op: part for part in count_acmix(mixer, in_channels=11, out_channels=15, input_map=(7, 4))}
        assert parts["projections"].macs == 3 * 11 * 15 * 28
        assert parts["convolution"].macs == fc + expected


def test_deploy_takes_the_cheapest_form():
    mixer = Mixer.canonical(conv_kernel=3, num_heads=4, conv_impl="full", conv_init="shift", combine="conv")
    _, plain, deploy, *_ = total(count_acmix(mixer, in_channels=8, out_channels=64, input_map=(2, 2)))
    unshared = 8 * 9 * 16 * 4 + 64 * 81 * 4
    composed = 3 * 8 * 64 * 4 + 16 * 12 * 4 * 9 * 4
    assert deploy == min(plain, composed, unshared) == unshared
    mixer = mixer.having(conv_impl="learnable", combine="sum", attention="local", attn_kernel=1)
    parts = count_acmix(mixer, in_channels=64, out_channels=64, input_map=(2, 2), fc_bias=True)
    _, plain, deploy, *_ = total(parts)
    attention = 3 * 64 * 64 * 4 + 2 * 64 * 4 + 2 * 16 * 4
    assert deploy == attention + 16 * (12 + 1) * 9 * 4 < plain


def test_reduced_keys_are_counted_on_their_own_map():
    """Kernels of 5 x 5 are 3 x 3 there, unless the reduction does not divide the map."""
    mixer = Mixer.canonical(
        attention="global", num_heads=2, conv_kernel=5, conv_impl="full", conv_init="shift", combine="learned"
    )
    for size, taps in (((8, 4), 2 * 25 + 4 * 9), ((8, 5), 6 * 25)):
        parts = count_acmix(mixer, in_channels=12, out_channels=12, input_map=size, sr_ratio=4)
        (path,) = (part for part in parts if part.op == "convolution")
        assert path.macs_deploy == taps * 2 * 6 * size[0] * size[1]


def test_a_model_is_counted_as_it_is():
    with torch.device("meta"):
        model = build_model(named_arch(TINY), num_classes=7, in_chans=1, img_size=64, width=0.5)
    for change in (lambda: None, lambda: model.reset_classifier(0), lambda: model.set_input_size(128, patch_size=2)):
        change()
        assert count(model, 64).params == sum(parameter.numel() for parameter in model.parameters())


def test_a_model_that_was_changed_is_not_counted():
    model = build_model(named_arch("acmix_resnet26"), width=0.25)
    with pytest.raises(AcmixError, match="merged, pruned or changed"):
        count(merge(model))
    assert count(merge(model).arch) == count(model.arch)
    model.prune_intermediate_layers([1])
    with pytest.raises(AcmixError, match="merged, pruned or changed"):
        breakdown(model)


def test_fvcore_differs_by_the_norms_alone():
    """Fvcore counts 5 for each number that a LayerNorm sees."""
    fvcore = pytest.importorskip("fvcore.nn")
    model = timm.create_model(TINY).eval()
    cost = count(model)
    analysis = fvcore.FlopCountAnalysis(model, torch.zeros(1, 3, 224, 224))
    with plain_form(model):
        counted = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    assert counted.total() == pytest.approx(4.664e9, rel=2e-4)
    assert counted["layer_norm"] == 5 * _normed()
    assert counted.total() - counted["layer_norm"] == cost.macs


def test_counting_loads_no_weights_and_importing_no_torch():
    code = "import acmix_nas.cost, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def _tiny(**changes):
    arch = named_arch(TINY)
    stages = [[mixer.having(**changes) for mixer in stage] for stage in arch.stages]
    return type(arch).canonical(host=arch.host, stages=stages, conv_on=arch.conv_on)


def _normed():
    """How many numbers of a 224 x 224 image pass through a LayerNorm."""
    pixels = [56**2, 28**2, 14**2, 7**2]
    blocks = sum(2 * depth * dim * n for depth, dim, n in zip((2, 2, 6, 2), (96, 192, 384, 768), pixels, strict=True))
    merging = sum(4 * dim * n for dim, n in zip((96, 192, 384), pixels[1:], strict=True))
    return 96 * pixels[0] + blocks + merging + 768 * pixels[-1]


def test_unknown_head_counts_are_one_error_in_count_and_build():
    whole = named_arch("acmix_san10")
    stages = [
        [mixer.having(**({"num_heads": 32} if mixer.conv_kernel else {})) for mixer in stage] for stage in whole.stages
    ]
    arch = Arch.canonical(host="san", stages=stages)
    for act in (count, build_model):
        with pytest.raises(ArchError, match="num_heads divides the 16 channels of q and k"):
            act(arch)
