import json

import pytest
import timm
import torch
from click.testing import CliRunner
from timm.optim import param_groups_weight_decay

from acmix_nas.arch import Arch
from acmix_nas.cli.models import models
from acmix_nas.errors import AcmixError, ArchError
from acmix_nas.models import build_model, model_names, named_arch

TINY = "acmix_swin_tiny_patch4_window7_224"
SMALL = "acmix_swin_small_patch4_window7_224"


def create(name=TINY, **options):
    """The named model, thin and at 64 x 64."""
    return timm.create_model(name, **{"width": 0.5, "img_size": 64, "num_classes": 5, **options}).eval()


def numel(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "options", "params"),
    [
        (TINY, {}, 28_649_908),
        (SMALL, {}, 50_345_080),
        (TINY, {"combine": "att"}, 28_288_354),
        (SMALL, {"combine": "att"}, 49_606_258),
        (TINY, {"conv_impl": "shift"}, 28_288_354 + 3834 + 24),
        (TINY, {"conv_on": "image"}, 28_649_908),
    ],
)
def test_parameters(name, options, params):
    with torch.device("meta"):
        assert numel(timm.create_model(name, **options)) == params


@pytest.mark.parametrize("size", [(224, 224), (100, 132)])
def test_attention_alone_is_timms_swin(size):
    """The same weights, the same logits, at any size that timm takes."""
    theirs = timm.create_model("swin_tiny_patch4_window7_224", strict_img_size=False).eval()
    ours = timm.create_model(TINY, combine="att").eval()
    ours.load_state_dict({_our_name(name): value for name, value in theirs.state_dict().items()})
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-5, atol=1e-6)


def test_odd_images_are_padded_with_zeros():
    model = create(img_size=(97, 133))
    image = torch.randn(1, 3, 97, 133)
    padded = torch.nn.functional.pad(image, (0, 3, 0, 3))
    with torch.no_grad():
        torch.testing.assert_close(model(image), model(padded))


def _our_name(name):
    for part in ("proj", "relative_position_bias_table"):
        name = name.replace(f"attn.{part}", f"attn.attention.{part}")
    return name


def test_names():
    assert {TINY, SMALL} <= set(model_names())
    assert set(model_names()) <= set(timm.list_models("acmix_*"))
    assert named_arch(SMALL).depths == (2, 2, 18, 2)
    with pytest.raises(AcmixError, match="there is no model 'swin'"):
        named_arch("swin")


def test_the_attributes_of_timm():
    model = create(in_chans=2)
    assert model.arch == named_arch(TINY)
    assert (model.num_classes, model.in_chans, model.num_features, model.head_hidden_size) == (5, 2, 384, 384)
    assert model.default_cfg["input_size"] == (3, 224, 224)
    assert model.pretrained_cfg["architecture"] == TINY
    assert [info["num_chs"] for info in model.feature_info] == [48, 96, 192, 384]
    assert [info["reduction"] for info in model.feature_info] == [4, 8, 16, 32]
    assert timm.data.resolve_model_data_config(model)["crop_pct"] == 0.9
    groups = timm.models.group_parameters(model, model.group_matcher())
    assert sum(map(len, groups.values())) == len(list(model.parameters()))


def test_the_papers_stochastic_depth_is_the_default():
    for name, rate in ((TINY, 0.2), (SMALL, 0.3)):
        with torch.device("meta"):
            assert timm.create_model(name).layers[-1].blocks[-1].drop_path2.drop_prob == pytest.approx(rate)
    assert isinstance(create(drop_path_rate=0.0).layers[-1].blocks[-1].drop_path2, torch.nn.Identity)
    assert isinstance(build_model(named_arch(TINY), width=0.5).layers[-1].blocks[-1].drop_path2, torch.nn.Identity)


def test_features_only():
    model = create(features_only=True, out_indices=(1, 3))
    assert model.feature_info.channels() == [96, 384]
    assert model.feature_info.reduction() == [8, 32]
    assert [tuple(feature.shape) for feature in model(torch.randn(2, 3, 64, 96))] == [(2, 8, 12, 96), (2, 2, 3, 384)]
    getter = create(features_only=True, feature_cls="getter", out_indices=(0, 2))
    shapes = [tuple(feature.shape) for feature in getter(torch.randn(1, 3, 64, 64))]
    assert shapes == [(1, 48, 16, 16), (1, 192, 4, 4)]


def test_forward_in_parts():
    model = create()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = model.forward_features(image)
        last, intermediates = model.forward_intermediates(image, indices=(0, 3), norm=True)
        assert features.shape == (2, 2, 2, 384)
        torch.testing.assert_close(model.forward_head(features), model(image))
        assert model.forward_head(features, pre_logits=True).shape == (2, 384)
        torch.testing.assert_close(last, features)
        assert intermediates[0].shape == (2, 48, 16, 16)
        torch.testing.assert_close(intermediates[1], features.permute(0, 3, 1, 2))


def test_reset_classifier():
    model = create()
    assert model.get_classifier().out_features == 5
    model.reset_classifier(7)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 7)
    model.reset_classifier(0, "")
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 2, 2, 384)


def test_set_input_size():
    model = create()
    before = {name: parameter.shape for name, parameter in model.named_parameters()}
    assert model.layers[-1].blocks[0].attn.attention.window_size == (2, 2)
    model.set_input_size(224)
    assert model.layers[-1].blocks[0].attn.attention.window_size == (7, 7)
    assert model.layers[0].blocks[1].attn.attention.shift_size == (3, 3)
    fresh = create(img_size=224)
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in fresh.named_parameters()}
    model.set_input_size((64, 64))
    assert {n: p.shape for n, p in model.named_parameters()} == before
    model.set_input_size(96, patch_size=2)
    assert model(torch.randn(1, 3, 96, 96)).shape == (1, 5)
    with pytest.raises(ArchError, match="windows are attn_kernel"):
        model.set_input_size(64, window_size=8)


def test_shifts_follow_the_windows_of_each_block():
    arch = named_arch(TINY)
    stages = [[mixer.having(attn_kernel=5 - i) for i, mixer in enumerate(stage[:2])] for stage in arch.stages]
    model = build_model(Arch.canonical(host="swin", stages=stages, conv_on="image"), img_size=64, width=0.5)
    windows = [[block.attn.attention for block in stage.blocks] for stage in model.layers]
    assert [[mode.window_size for mode in stage] for stage in windows[:2]] == [[(5, 5), (4, 4)]] * 2
    assert [mode.shift_size for stage in windows for mode in stage] == [(0, 0), (2, 2)] * 2 + [(0, 0)] * 4
    assert all(block.attn.conv_on == "image" for stage in model.layers for block in stage.blocks)


def test_grad_checkpointing_changes_nothing():
    model = create(drop_path_rate=0.0).train()
    image = torch.randn(2, 3, 64, 64)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(image).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_weights_of_the_paths_never_decay():
    model = create()
    _, decayed = param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    ends = {names[id(parameter)].rpartition(".")[2] for parameter in decayed["params"]}
    assert ends == {"weight"}


def test_there_are_no_pretrained_weights(tmp_path):
    with pytest.raises(AcmixError, match="no weights of acmix_swin_tiny"):
        create(pretrained=True)
    model = create()
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    again = create(checkpoint_path=str(tmp_path / "mine.pth"))
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_unknown_options_are_refused():
    with pytest.raises(ArchError, match="has no option windows; it has num_classes"):
        create(windows=7)
    with pytest.raises(ArchError, match="num_heads divides out_channels; 3 does not divide 20"):
        create(width=20 / 96)


def test_command_lists_every_model():
    rows = json.loads(CliRunner().invoke(models, ["--json"], catch_exceptions=False).stdout)
    assert [row["name"] for row in rows] == model_names()
    assert {"name": TINY, "host": "swin", "params": 28_649_908}.items() <= rows[-1].items()
    table = CliRunner().invoke(models, catch_exceptions=False).stdout
    assert TINY in table
    assert "28.65" in table
