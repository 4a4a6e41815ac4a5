"""Weights of a classifier in the backbone of a segmentor: which tensors, and what is resampled."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from acmix_nas.arch import Arch
from acmix_nas.models import build_features, build_model, named_arch
from acmix_nas.reference import CheckpointError
from acmix_nas.segmentor import segmentor_on
from acmix_nas.train.backbone_weights import load_backbone
from acmix_nas.train.network import build_network
from acmix_nas.train.recipe import Budget, make_optimizer

PVT, RESNET = named_arch("acmix_pvt_tiny"), named_arch("acmix_resnet26")
SWIN = named_arch("acmix_swin_tiny_patch4_window7_224")
NARROW = {"width": 0.25}


def segmentor(arch: Arch, **options):
    net = build_features(arch, feature_cls="getter", class_token=False, **NARROW, **options)
    return segmentor_on(net, "semantic_fpn", 5)


def stored(arch: Arch, tmp_path, **options):
    torch.manual_seed(1)
    model = build_model(arch, num_classes=7, **NARROW, **options)
    file = tmp_path / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    return model.eval(), file


@pytest.mark.parametrize("arch", [PVT, RESNET, SWIN], ids=["pvt", "resnet", "swin"])
def test_the_maps_are_those_of_the_classifier(arch, tmp_path):
    model, file = stored(arch, tmp_path, img_size=64)
    dense = segmentor(arch, img_size=64).eval()
    said = load_backbone(dense, file)
    assert "tensors of the backbone are from" in said
    assert any(name in said.partition("are not used")[2] for name in ("head.", "fc."))
    assert ("1 were resampled" in said) == (arch is PVT)  # the class token of the last stage is cut off
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = dense.backbone.net(images), model.forward_intermediates(images, intermediates_only=True)
    tight = arch is not PVT  # whose class token takes part in the last stage
    for mine, theirs in list(zip(found[::-1], expected[::-1], strict=False))[0 if tight else 1 :]:
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_positions_of_another_size_are_resampled(tmp_path):
    model, file = stored(PVT, tmp_path, img_size=64)
    dense = segmentor(PVT, img_size=(64, 96))
    said = load_backbone(dense, file)
    assert "4 were resampled" in said
    for stage, rows, columns in ((0, 16, 24), (3, 2, 3)):
        there = dense.backbone.net.model.stages[stage].pos_embed
        assert there.shape[1] == rows * columns
        own = model.stages[stage].pos_embed[:, -(rows**2) :]
        assert there.mean().item() == pytest.approx(own.mean().item(), abs=5e-3)


def test_bias_tables_of_another_window_are_resampled(tmp_path):
    _, file = stored(SWIN, tmp_path, img_size=64)  # windows are cut to the maps of 2 pixels
    dense = segmentor(SWIN, img_size=224)
    assert "were resampled" in load_backbone(dense, file)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    _, file = stored(RESNET, tmp_path)
    dense = segmentor(PVT, img_size=64)
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_backbone(dense, file)
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())


def test_weights_of_timms_own_network_are_loaded_by_timm(tmp_path):
    torch.manual_seed(1)
    model = timm.create_model("resnet18", num_classes=9).eval()
    file = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), file)
    options = {"num_classes": None, "in_chans": 3, "input_size": 64, "drop_path": 0.0}
    net = build_network("resnet18", None, weights=file, **options).eval()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(net(images)[-1], model.forward_features(images), atol=1e-5)


def test_positions_and_weights_of_paths_of_a_segmentor_have_no_weight_decay():
    dense = segmentor(PVT, img_size=64)
    names = {id(parameter): name for name, parameter in dense.named_parameters()}
    budget = Budget(epochs=1, images=1, batch_size=1, learning_rate=0.1)
    decayed, free = ({names[id(p)] for p in group["params"]} for group in make_optimizer(dense, budget).param_groups)
    assert all(name.rpartition(".")[2] == "weight" for name in decayed)
    assert {name.rpartition(".")[2] for name in free} >= {"pos_embed", "alpha", "beta", "bias"}
    assert "backbone.net.model.stages.0.pos_embed" in free
