import json

import pytest
import timm
import torch
from safetensors.torch import load_file
from small_networks import HOSTS, NAMED, small_arch, small_model
from torch import nn

from acmix_nas.errors import AcmixError, ArchError, UsageError
from acmix_nas.export import ExportError, _check, _network, onnx, write
from acmix_nas.models import build_model, named_arch


def run(model, images):
    with torch.no_grad():
        return model.eval()(images)


def settings(model, **asked):
    usual = {"form": "merged", "features_only": False, "input_size": None, "dynamic": True}
    return _network.settings_for(model, **{**usual, **asked})


@pytest.mark.parametrize("host", HOSTS)
def test_timm_builds_the_network_again(host, tmp_path):
    model, images = small_model(host, in_chans=2), torch.randn(2, 2, 61, 77)
    written = write(model, tmp_path / "net", format="timm")
    assert written.form == "train"
    assert sorted(file.name for file in (tmp_path / "net").iterdir()) == ["config.json", "model.safetensors"]
    again = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True)
    assert again.arch == model.arch
    assert torch.equal(run(again, images), run(model, images))
    assert load_file(tmp_path / "net" / "model.safetensors").keys() == model.state_dict().keys()


@pytest.mark.parametrize("host", HOSTS)
def test_a_detector_takes_its_maps(host, tmp_path):
    model, images = small_model(host), torch.randn(1, 3, 96, 64)
    write(model, tmp_path / "net", format="timm")
    backbone = timm.create_model(
        f"local-dir:{tmp_path / 'net'}", pretrained=True, features_only=True, out_indices=(0, 1), feature_cls="getter"
    )
    with torch.no_grad():
        expected = model.forward_intermediates(images, indices=[0, 1], intermediates_only=True)
    assert backbone.feature_info.channels() == [info["num_chs"] for info in model.feature_info[:2]]
    torch.testing.assert_close(run(backbone, images), expected, rtol=0, atol=0)


def test_other_classes_get_a_fresh_head(tmp_path):
    model = small_model("resnet")
    write(model, tmp_path / "net", format="timm")
    other = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True, num_classes=7)
    assert run(other, torch.randn(1, 3, 64, 64)).shape == (1, 7)
    assert torch.equal(other.layer4[0].conv2.qkv.weight, model.layer4[0].conv2.qkv.weight)


def test_sizes_of_the_model_come_back(tmp_path):
    model = build_model(small_arch("swin"), img_size=(40, 56), patch_size=2, width=0.25, num_classes=0).eval()
    write(model, tmp_path / "net", format="timm")
    again = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True)
    assert (again.patch_embed.img_size, again.patch_embed.patch_size) == ((40, 56), (2, 2))
    assert (again.width, again.num_classes) == (0.25, 0)
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [3, 40, 56]


def test_a_named_network_is_written_by_its_name(tmp_path):
    model = build_model(named_arch("acmix_resnet38"), width=0.125, num_classes=3).eval()
    write(model, tmp_path / "net", format="timm")
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert config["architecture"] == "acmix_resnet38"
    assert "arch" not in config["model_args"]


def test_timm_takes_an_arch():
    arch = small_arch("swin", combine="half")
    with torch.device("meta"):
        by_dict = timm.create_model(NAMED["swin"], arch=arch.to_dict(), img_size=64)
        changed = timm.create_model(NAMED["swin"], arch=arch, combine="att")
    assert by_dict.arch == arch
    assert changed.arch == small_arch("swin", combine="att")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (small_arch("pvt"), "builds networks of the host swin; the arch is of pvt"),
        ({"host": "swin"}, "an arch needs `host`"),
        (3, "mapping of fields"),
    ],
)
def test_an_arch_outside_the_space_is_refused(given, message):
    with pytest.raises(ArchError, match=message):
        timm.create_model(NAMED["swin"], arch=given)


def test_there_are_still_no_pretrained_weights():
    with pytest.raises(AcmixError, match="no weights of acmix_swin_tiny"):
        timm.create_model(NAMED["swin"], arch=small_arch("swin"), pretrained=True)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"format": "timm", "form": "merged"}, "timm holds the form train.*no longer has its parameters"),
        ({"format": "timm", "features_only": True}, "features_only=True"),
        ({"format": "onnx", "form": "flat"}, "merged, train, paper"),
        ({"format": "caffe"}, "onnx, timm, torch"),
    ],
)
def test_what_a_format_cannot_hold(asked, message, tmp_path):
    with pytest.raises(AcmixError, match=f"(?s){message}"):
        write(small_model("resnet"), tmp_path / "net", **asked)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_a_network_is_not_exported(tmp_path):
    with pytest.raises(AcmixError, match="Linear is not a complete network of ours"):
        write(nn.Linear(2, 2), tmp_path / "net", format="timm")


def test_nothing_is_overwritten_unasked(tmp_path):
    model, target = small_model("resnet"), tmp_path / "new" / "net"
    target.mkdir(parents=True)
    write(model, target, format="timm")
    (target / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"already exists.*--overwrite"):
        write(model, target, format="timm")
    with torch.no_grad():
        model.fc.bias.zero_()
    write(model, target, format="timm", overwrite=True)
    assert not load_file(target / "model.safetensors")["fc.bias"].any()
    assert (target / "notes.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="is a file; choose a folder"):
        write(model, file, format="timm", overwrite=True)


@pytest.mark.parametrize("format", ["timm", "torch"])
def test_a_difference_leaves_no_file(format, tmp_path, monkeypatch):
    monkeypatch.setattr(_check, "_relative", lambda found, expected: float("nan"))
    with pytest.raises(ExportError, match="the file was removed"):
        write(small_model("resnet"), tmp_path / "net", format=format, dynamic_size=False, input_size=64)
    assert list(tmp_path.iterdir()) == []


def test_differences_are_found():
    model = small_model("swin")
    asked = settings(model)
    assert _check.largest_difference(model, asked, lambda images: {"logits": run(model, images)}) == 0
    off = _check.largest_difference(model, asked, lambda images: {"logits": 1.0001 * run(model, images)})
    assert off == pytest.approx(1e-4, rel=1e-2)
    for wrong in ({"logits": torch.ones(1, 5)}, {"maps": torch.ones(3, 5)}, {}):
        with pytest.raises(ExportError, match="output logits is"):
            _check.largest_difference(model, asked, lambda images, wrong=wrong: wrong)


def test_failures_of_libraries_are_one_line(tmp_path, monkeypatch):
    model = small_model("resnet")
    monkeypatch.setattr(type(model), "forward", lambda self, images: images if images.sum() > 0 else None)
    with pytest.raises(ExportError, match=r"^torch\.export does not trace the network: .+$"):
        write(model, tmp_path / "net", format="torch", dynamic_size=False, input_size=64)

    def fail(images):
        raise RuntimeError("\n\nno kernel\nfor this")

    with pytest.raises(ExportError, match=r"does not run images \(1, 3, 64, 64\): no kernel$"):
        _check.largest_difference(small_model("swin"), settings(small_model("swin")), fail)


def test_two_batches_and_two_sizes_are_checked():
    model = small_model("swin")
    assert settings(model).images() == [(1, 64, 64), (3, 64, 64), (2, 49, 101)]
    assert settings(model, dynamic=False).images() == [(1, 64, 64), (3, 64, 64)]
    assert settings(model, input_size=(33, 50), dynamic=False).input_size == (33, 50)
    assert settings(model, input_size=(1, 50)).input_size == (9, 50)
    with pytest.raises(UsageError, match=r"at least 9 pixels a side.*8 x 50 is less"):
        settings(model, input_size=(8, 50), dynamic=False)


def test_what_fixes_the_size_is_named():
    arch = small_arch("swin", attention="my_lab.attention")
    assert _network._fixed_by(arch) == ("my_lab.attention attention",)
    assert _network._fixed_by(small_arch("swin")) == ()


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else True)
    with pytest.raises(AcmixError, match=r"onnxscript is not installed: pip install 'acmix-nas\[export\]'"):
        write(small_model("resnet"), tmp_path / "net.onnx", format="onnx")
    assert list(tmp_path.iterdir()) == []
