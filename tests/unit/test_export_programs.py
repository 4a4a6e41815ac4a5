"""Every host in both forms as torch.export programs and as ONNX, with open and with fixed sizes."""

import onnxruntime
import pytest
import torch
from small_networks import HOSTS, small_model
from torch.export import Dim

from acmix_nas.arch import Mixer
from acmix_nas.export import write
from acmix_nas.export._program import _without_guesses
from acmix_nas.models import merge
from acmix_nas.operators.acmix import build

pytestmark = pytest.mark.slow


def maps_of(model, images):
    with torch.no_grad():
        return model.forward_intermediates(images, intermediates_only=True)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.nightly  # test_hosts_contract.py has a network exported in CI
@pytest.mark.parametrize("form", ["train", "merged"])
@pytest.mark.parametrize("host", HOSTS)
def test_a_program_of_maps(host, form, tmp_path):
    model = small_model(host)
    written = write(
        model, tmp_path / "maps.pt2", format="torch", form=form, features_only=True, input_size=64, dynamic_size=False
    )
    images = torch.randn(4, 3, 64, 64)
    maps = torch.export.load(tmp_path / "maps.pt2").module()(images)
    assert list(maps) == list(written.outputs) == [f"stage{i}" for i in range(len(model.feature_info))]
    for found, expected in zip(maps.values(), maps_of(model, images), strict=True):
        close(found, expected)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("host", "form"),
    [
        ("swin", "merged"),
        ("resnet", "train"),
        ("san", "train"),
    ],
)
def test_a_program_for_any_size(host, form, tmp_path):
    model = small_model(host)
    written = write(model, tmp_path / "net.pt2", format="torch", form=form, input_size=64)
    assert written.inputs == {"images": ["batch", 3, "height", "width"]}
    program = torch.export.load(tmp_path / "net.pt2").module()
    for size in [(1, 3, written.least, 200), (5, 3, 224, 113), (1, 3, 65, 65)]:
        images = torch.randn(size)
        with torch.no_grad():
            close(program(images), model(images))


@pytest.mark.nightly  # README has one exported in CI
@pytest.mark.parametrize("host", HOSTS)
def test_onnx_for_any_size(host, tmp_path):
    """Maps smaller than a window and smaller than its shift are among the sizes."""
    model = small_model(host)
    written = write(model, tmp_path / "net.onnx", format="onnx", input_size=64)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    assert written.dynamic_size
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    for batch, *size in [(1, 5, 9), (1, written.least, 70), (4, 150, 203)]:
        images = torch.randn(batch, 3, *size)
        with torch.no_grad():
            close(torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0]), model(images))


@pytest.mark.nightly
@pytest.mark.parametrize("host", HOSTS)
def test_onnx_of_maps_as_trained(host, tmp_path):
    model = small_model(host)
    asked = {"form": "train", "features_only": True, "input_size": 64, "dynamic_size": False}
    written = write(model, tmp_path / "maps.onnx", format="onnx", **asked)
    for info, shape in zip(model.feature_info, written.outputs.values(), strict=True):
        assert shape == ["batch", info["num_chs"], 64 // info["reduction"], 64 // info["reduction"]]
    images = torch.randn(2, 3, 64, 64)
    session = onnxruntime.InferenceSession(tmp_path / "maps.onnx")
    found = session.run(list(written.outputs), {"images": images.numpy()})
    for values, expected in zip(found, maps_of(model, images), strict=True):
        close(torch.from_numpy(values), expected)
    with pytest.raises(Exception, match="images"):
        session.run(None, {"images": torch.randn(1, 3, 96, 64).numpy()})


@pytest.mark.nightly
def test_the_paper_form_is_literal(tmp_path):
    """No kernel of torch stands for several of its steps."""
    model = small_model("swin")
    steps = {}
    for form in ("paper", "train"):
        write(model, tmp_path / form, format="torch", form=form, input_size=64, dynamic_size=False)
        with (tmp_path / form).open("rb") as file:
            steps[form] = {str(node.target) for node in torch.export.load(file).graph.nodes}
    fused = "aten.scaled_dot_product_attention.default"
    assert fused in steps["train"]
    assert fused not in steps["paper"]
    assert "aten.softmax.int" in steps["paper"]


@pytest.mark.parametrize("conv_on", ["rolled", "image"])
def test_light_layers_in_the_projections_take_any_size(conv_on):
    """Sizes that windows divide and that they do not, whichever the example had."""
    mixer = Mixer.canonical(
        attention="window",
        attn_kernel=7,
        num_heads=5,
        combine="learned",
        conv_kernel=3,
        conv_impl="full",
        conv_init="shift",
    )
    sites = {"in_channels": 80, "out_channels": 80, "map_size": (28, 28), "shifted": True, "conv_on": conv_on}
    operator = merge(build(mixer, **sites))
    assert operator.mixed is not None
    size = Dim.DYNAMIC(min=4)
    with _without_guesses(), torch.no_grad():
        dynamic = ({0: Dim.DYNAMIC, 2: size, 3: size},)
        program = torch.export.export(operator, (torch.randn(2, 80, 28, 36),), dynamic_shapes=dynamic).module()
    for height, width in ((28, 36), (28, 28), (9, 15), (5, 7)):
        x = torch.randn(3, 80, height, width)
        close(program(x), operator(x))
