import json
from types import SimpleNamespace

import pytest
import timm
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import save_file

from acmix_nas.arch import Arch
from acmix_nas.cli import acmix
from acmix_nas.errors import AcmixError
from acmix_nas.export import ExportError, _check
from acmix_nas.models import build_model, named_arch
from acmix_nas.reference import CheckpointError

WHOLE = named_arch("acmix_swin_tiny_patch4_window7_224")
ARCH = Arch.canonical(host="swin", stages=[stage[:1] for stage in WHOLE.stages])
"""Swin of one block a stage."""


@pytest.fixture
def best(tmp_path):
    path = tmp_path / "reports" / "swin_t-001" / "best.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump({"arch_id": ARCH.id, "arch": ARCH.to_dict()}))
    return path


def run(*words):
    return CliRunner().invoke(acmix, ["export", *map(str, words)])


def failure(*words):
    result = run(*words)
    assert isinstance(result.exception, AcmixError), result.output
    return result.exception


def test_from_a_best_yaml_to_a_backbone_with_its_weights(best, tmp_path):
    trained = build_model(ARCH, num_classes=3, in_chans=1, img_size=64).eval()
    save_file(trained.state_dict(), tmp_path / "mine.safetensors")
    options = ("--num-classes", 3, "--in-chans", 1, "--input-size", 64, "--weights", tmp_path / "mine.safetensors")
    result = run(best, "--format", "timm", "--out", tmp_path / "net", *options)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.startswith(f"{tmp_path / 'net'}\n")
    assert f"swin_t-001/best, arch {ARCH.id}, train form" in result.stdout
    images = torch.randn(2, 1, 64, 64)
    backbone = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True, features_only=True).eval()
    whole = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(whole(images), trained(images))
        assert [len(maps[0, 0, 0]) for maps in backbone(images)] == [96, 192, 384, 768]


def test_fresh_weights_are_reported_and_repeat(best, tmp_path):
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        result = run(best, "--format", "timm", "--out", tmp_path / name, "--seed", seed, "--input-size", 64)
        assert result.stderr == f"Fresh weights of seed {seed}; trained ones are given with --weights.\n"
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_json(best, tmp_path):
    result = run(best, "--format", "timm", "--out", tmp_path / "net", "--input-size", "64x96", "--json")
    told = json.loads(result.stdout)
    assert (told["network"], told["arch_id"], told["path"]) == ("swin_t-001/best", ARCH.id, str(tmp_path / "net"))
    assert told["inputs"] == {"images": ["batch", 3, "height", "width"]}
    assert told["checked"][0] == [1, 64, 96]
    assert 0 <= told["difference"] < 1e-5


@pytest.mark.nightly  # README has a file for any size
@pytest.mark.parametrize(("format", "fact"), [("onnx", "opset"), ("torch", "torch")])
def test_a_file_for_one_size(format, fact, best, tmp_path):
    out = tmp_path / "net"
    result = run(best, "--format", format, "--out", out, "--input-size", 64, "--size", "fixed", "--num-classes", 2)
    assert result.exit_code == 0, result.output
    assert out.stat().st_size > 1e6
    for line in (
        "merged form",
        "batch x 3 x 64 x 64",
        "batch x 2",
        "of this size only",
        "1 of 64x64, 3 of 64x64",
        fact,
    ):
        assert line in result.stdout


@pytest.mark.nightly
def test_the_size_is_fixed_where_it_must_be(best, tmp_path, monkeypatch):
    """Asked for any size, a mode of one's own gets a file for one, and that is said."""
    from acmix_nas.export import _network

    names = _network.registry.names
    ours = SimpleNamespace(names=lambda folder: () if folder == "operators.attention" else names(folder))
    monkeypatch.setattr(_network, "registry", ours)
    options = ("--input-size", 64, "--num-classes", 2, "--format", "torch", "--out", tmp_path / "net.pt2")
    small = Arch.canonical(host="pvt", stages=[stage[:1] for stage in named_arch("acmix_pvt_tiny").stages])
    best.write_text(yaml.safe_dump({"arch": small.to_dict()}))
    result = run(best, *options)
    assert "Images of one size only: global attention is not traced for any." in result.stderr
    assert "of this size only" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("acmix_resnet50", "--out", "x"), "Missing option '--format'"),
        (("acmix_resnet50", "--format", "caffe", "--out", "x"), "'caffe' is not one of 'onnx', 'timm', 'torch'"),
        (("acmix_resnet50", "--format", "onnx"), "Missing option '--out'"),
        (("acmix_resnet50", "--format", "onnx", "--out", "x", "--input-size", "2x3x4"), "an input size is a height"),
        (("acmix_resnet50", "--format", "onnx", "--out", "x", "--input-size", "0"), "an input size is a height"),
        (("acmix_resnet50", "--format", "onnx", "--out", "x", "--weights", "none.pth"), "does not exist"),
    ],
)
def test_wrong_words_are_refused(words, message):
    result = run(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_timm_needs_the_training_form(tmp_path):
    error = failure("acmix_resnet26", "--format", "timm", "--form", "merged", "--out", tmp_path / "net")
    assert error.exit_code == 2
    assert "no longer has its parameters" in str(error)


def test_what_is_there_stays(tmp_path):
    (tmp_path / "net").write_text("mine")
    error = failure("acmix_resnet26", "--format", "torch", "--out", tmp_path / "net")
    assert (error.exit_code, (tmp_path / "net").read_text()) == (2, "mine")
    assert "--overwrite" in str(error)


def test_a_difference_is_a_failure(best, tmp_path, monkeypatch):
    monkeypatch.setattr(_check, "TOLERANCE", -1.0)
    error = failure(best, "--format", "timm", "--out", tmp_path / "net", "--input-size", 64)
    assert isinstance(error, ExportError)
    assert error.exit_code == 1
    assert not (tmp_path / "net").exists()


def test_weights_of_another_network_are_one_message(best, tmp_path):
    save_file({"head.fc.weight": torch.zeros(10, 768), "strange": torch.zeros(1)}, tmp_path / "other.safetensors")
    error = failure(best, "--format", "timm", "--out", tmp_path / "net", "--weights", tmp_path / "other.safetensors")
    assert isinstance(error, CheckpointError)
    for part in (
        "missing: patch_embed.proj.weight",
        "unknown: strange",
        "weight is (10, 768), not (1000, 768)",
    ):
        assert part in str(error)
