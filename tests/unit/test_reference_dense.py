"""Published dense networks load by their own names: state dicts of their shape, with random values."""

import pytest
import torch
from torch import nn

from acmix_nas.reference import CheckpointError, load_weights
from acmix_nas.reference_dense import named_as_ours
from acmix_nas.segmentor import build_segmentor
from acmix_nas.space import load_space
from acmix_nas.train.backbone_weights import load_backbone

CLASSES = 7
OURS = "backbone.net.model"


def convolution(name, outputs, inputs, side):
    """A ConvModule of mmcv: convolution without bias, batch norm."""
    norm = {f"{name}.bn.{part}": torch.rand(outputs) for part in ("weight", "bias", "running_mean", "running_var")}
    count = {f"{name}.bn.num_batches_tracked": torch.tensor(3)}
    return {f"{name}.conv.weight": torch.randn(outputs, inputs, side, side), **norm, **count}


def layer(name, outputs, *inputs):
    return {f"{name}.weight": torch.randn(outputs, *inputs), f"{name}.bias": torch.randn(outputs)}


def norm(name, width):
    return layer(name, width)


def upernet(widths, own=512):
    given = {}
    for place in range(4):
        given |= convolution(f"decode_head.psp_modules.{place}.1", own, widths[-1], 1)
    given |= convolution("decode_head.bottleneck", own, widths[-1] + 4 * own, 3)
    for place, width in enumerate(widths[:-1]):
        given |= convolution(f"decode_head.lateral_convs.{place}", own, width, 1)
        given |= convolution(f"decode_head.fpn_convs.{place}", own, own, 3)
    given |= convolution("decode_head.fpn_bottleneck", own, 4 * own, 3)
    given |= layer("decode_head.conv_seg", CLASSES, own, 1, 1)
    given |= convolution("auxiliary_head.convs.0", 256, widths[2], 3)
    return given | layer("auxiliary_head.conv_seg", CLASSES, 256, 1, 1)


def swin(*, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), width=96, renamed=True):
    """Swin-T with UPerNet: by mmsegmentation's names, or by those of the paper's repository."""
    widths = [width * 2**stage for stage in range(4)]
    stages, proj, attn = ("stages", "projection", "attn.w_msa") if renamed else ("layers", "proj", "attn")
    first, second = ("ffn.layers.0.0", "ffn.layers.1") if renamed else ("mlp.fc1", "mlp.fc2")
    given = layer(f"backbone.patch_embed.{proj}", width, 3, 4, 4) | norm("backbone.patch_embed.norm", width)
    for stage, (depth, count, own) in enumerate(zip(depths, heads, widths, strict=True)):
        for block in range(depth):
            name = f"backbone.{stages}.{stage}.blocks.{block}"
            given |= norm(f"{name}.norm1", own) | norm(f"{name}.norm2", own)
            given |= layer(f"{name}.{attn}.qkv", 3 * own, own) | layer(f"{name}.{attn}.proj", own, own)
            given[f"{name}.{attn}.relative_position_bias_table"] = torch.randn(169, count)
            given[f"{name}.{attn}.relative_position_index"] = torch.zeros(49, 49, dtype=torch.long)
            given |= layer(f"{name}.{first}", 4 * own, own) | layer(f"{name}.{second}", own, 4 * own)
        if stage < 3:
            name = f"backbone.{stages}.{stage}.downsample"
            given |= norm(f"{name}.norm", 4 * own) | {f"{name}.reduction.weight": torch.randn(2 * own, 4 * own)}
        given |= norm(f"backbone.norm{stage}", own)
    return given | upernet(widths)


def pvt(*, depths=(2, 2, 2, 2), widths=(64, 128, 320, 512), ratios=(8, 8, 4, 4), reductions=(8, 4, 2, 1)):
    """PVT-T with Semantic-FPN, by the names of the paper's repository; the last positions have a class token."""
    given, inputs = {}, 3
    for stage, (depth, own, ratio, side) in enumerate(zip(depths, widths, ratios, reductions, strict=True), 1):
        extent = 4 if stage == 1 else 2
        given |= layer(f"backbone.patch_embed{stage}.proj", own, inputs, extent, extent)
        given |= norm(f"backbone.patch_embed{stage}.norm", own)
        given[f"backbone.pos_embed{stage}"] = torch.randn(1, (112 // 2**stage) ** 2 + (stage == 4), own)
        for block in range(depth):
            name = f"backbone.block{stage}.{block}"
            given |= norm(f"{name}.norm1", own) | norm(f"{name}.norm2", own)
            given |= layer(f"{name}.attn.q", own, own) | layer(f"{name}.attn.kv", 2 * own, own)
            given |= layer(f"{name}.attn.proj", own, own)
            if side > 1:
                given |= layer(f"{name}.attn.sr", own, own, side, side) | norm(f"{name}.attn.norm", own)
            given |= layer(f"{name}.mlp.fc1", ratio * own, own) | layer(f"{name}.mlp.fc2", own, ratio * own)
        inputs = own
    for level, own in enumerate(widths):
        given |= layer(f"neck.lateral_convs.{level}.conv", 256, own, 1, 1)
        given |= layer(f"neck.fpn_convs.{level}.conv", 256, 256, 3, 3)
        for step in range(max(1, level)):  # a doubling comes after each
            given |= convolution(f"decode_head.scale_heads.{level}.{2 * step}", 128, 256 if step == 0 else 128, 3)
    return given | layer("decode_head.conv_seg", CLASSES, 128, 1, 1)


def plain(space, head):
    chosen = load_space(space)
    return build_segmentor(chosen.build(chosen.first["plain host"]), head=head, num_classes=CLASSES)


class UnfoldedMerging(nn.Module):
    """A downsampling as mmsegmentation has it, on maps (B, C, H, W): unfold, norm, reduction."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        patches = nn.functional.unfold(x, 2, stride=2).transpose(1, 2)
        return self.reduction(self.norm(patches)).transpose(1, 2).unflatten(-1, (x.shape[-2] // 2, -1))


@pytest.mark.parametrize("renamed", [True, False])
def test_swin_with_upernet(renamed):
    given, model = swin(renamed=renamed), plain("swin_t", "upernet")
    load_weights(model, {"meta": {"epoch": 1}, "state_dict": given})
    own = model.state_dict()
    where = "backbone.stages" if renamed else "backbone.layers"
    table = given[f"{where}.2.blocks.5.{'attn.w_msa' if renamed else 'attn'}.relative_position_bias_table"]
    assert torch.equal(own[f"{OURS}.layers.2.blocks.5.attn.attention.relative_position_bias_table"], table)
    assert torch.equal(own["head.pools.3.1.running_var"], given["decode_head.psp_modules.3.1.bn.running_var"])
    assert torch.equal(own["head.auxiliary.2.weight"], given["auxiliary_head.conv_seg.weight"])
    assert torch.equal(own["backbone.norms.3.bias"], given["backbone.norm3.bias"])
    x = torch.randn(2, 96, 6, 4)
    merging = model.backbone.net.model.layers[1].downsample
    if renamed:  # what it computes is what the published one does
        published = UnfoldedMerging(96)
        prefix = "backbone.stages.0.downsample."
        published.load_state_dict({name.removeprefix(prefix): given[name] for name in given if name.startswith(prefix)})
        assert torch.allclose(merging(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), published(x), atol=1e-4)
    else:
        assert torch.equal(merging.reduction.weight, given["backbone.layers.0.downsample.reduction.weight"])


def test_pvt_with_semantic_fpn():
    given, model = pvt(), plain("pvt_tiny", "semantic_fpn")
    load_weights(model, given)
    own = model.state_dict()
    qkv = own[f"{OURS}.stages.1.blocks.0.attn.qkv.weight"]
    assert torch.equal(qkv[:128], given["backbone.block2.0.attn.q.weight"])
    assert torch.equal(qkv[128:], given["backbone.block2.0.attn.kv.weight"])
    reduction = own[f"{OURS}.stages.0.blocks.1.attn.attention.reduction.weight"]
    assert torch.equal(reduction, given["backbone.block1.1.attn.sr.weight"])
    assert torch.equal(own[f"{OURS}.stages.3.pos_embed"], given["backbone.pos_embed4"][:, 1:])
    assert torch.equal(own[f"{OURS}.stages.0.pos_embed"], given["backbone.pos_embed1"])
    assert torch.equal(own["head.levels.3.2.0.weight"], given["decode_head.scale_heads.3.4.conv.weight"])
    assert torch.equal(own["head.pyramid.outputs.2.bias"], given["neck.fpn_convs.2.conv.bias"])


def test_what_is_missing_or_of_another_network_is_one_error():
    given, model = pvt(), plain("pvt_tiny", "semantic_fpn")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    del given["backbone.block3.1.mlp.fc2.bias"]
    with pytest.raises(CheckpointError, match=r"missing: backbone.net.model.stages.2.blocks.1.mlp.fc2.bias"):
        load_weights(model, given)
    with pytest.raises(CheckpointError, match="not of this module"):
        load_weights(model, swin())
    with pytest.raises(CheckpointError, match=r"unknown: decode_head\.extra"):
        load_weights(model, {**pvt(), "decode_head.extra": torch.zeros(3)})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("value", [3, torch.zeros(()), torch.zeros(2, 0, 5), torch.zeros(7)])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (swin, "backbone.stages.0.downsample.norm.weight"),
        (pvt, "backbone.pos_embed4"),
        (pvt, "backbone.block1.0.attn.q.weight"),
        (pvt, "backbone.block1.0.attn.kv.weight"),
    ],
)
def test_a_tensor_that_is_none_is_one_error(make, name, value):
    model = plain("swin_t", "upernet") if make is swin else plain("pvt_tiny", "semantic_fpn")
    with pytest.raises(CheckpointError, match="nothing was loaded"):
        load_weights(model, {**make(), name: value})


def test_the_backbone_alone_is_taken_too(tmp_path):
    given, model = swin(), plain("swin_t", "semantic_fpn")
    torch.save({"state_dict": given}, tmp_path / "published.pth")
    said = load_backbone(model, tmp_path / "published.pth")
    assert "fresh" not in said
    assert "not used" not in said
    assert torch.equal(
        model.state_dict()[f"{OURS}.layers.3.blocks.1.mlp.fc1.weight"],
        given["backbone.stages.3.blocks.1.ffn.layers.0.0.weight"],
    )


def test_other_names_stay():
    given = {"layers.0.blocks.0.attn.qkv.weight": torch.zeros(1), "head.weight": torch.zeros(1)}
    assert named_as_ours(given) is given
