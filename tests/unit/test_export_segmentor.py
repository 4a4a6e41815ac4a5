"""Networks that score every pixel as files: any batch, any size, with what the file says of itself."""

import json
from dataclasses import replace

import pytest
import torch

from acmix_nas.errors import UsageError
from acmix_nas.export import write
from acmix_nas.models import build_features
from acmix_nas.segmentor import segmentor_on
from acmix_nas.space import load_space

DESCRIBED = {"classes": ["sky", "sea", "land"], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [64, 64]}


def shallow(name: str, head: str):
    """A narrow segmentor with one block in each stage, of a Swin two: the second is shifted."""
    space = load_space(name)
    proxy = replace(space.proxies["dense_cpu"], depths=((1,) if space.host != "swin" else (2,)) * len(space.depths))
    arch = proxy.shrink(space.build(space.first["paper"]))
    torch.manual_seed(0)
    net = build_features(arch, feature_cls="getter", class_token=False, width=0.25, img_size=64)
    return segmentor_on(net, head, 3, width=0.125).eval()


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("space", "head", "format"),
    [
        ("pvt_tiny", "semantic_fpn", "torch"),
        ("pvt_tiny", "upernet", "onnx"),
        ("swin_t", "upernet", "torch"),
        ("resnet26", "semantic_fpn", "onnx"),
        ("san10", "semantic_fpn", "torch"),
    ],
)
def test_a_file_takes_any_batch_and_size_and_says_what_it_is_of(space, head, format, tmp_path):
    model = shallow(space, head)
    file = tmp_path / "net"
    written = write(model, file, format=format, input_size=64, described=DESCRIBED)
    assert written.dynamic_size
    assert {(height % 32, width % 32) for _, height, width in written.checked} != {(0, 0)}
    images = torch.randn(2, 3, 75, 50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(images)
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        said = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
        found = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    else:
        extra = {"acmix.json": ""}
        with file.open("rb") as stream:
            program = torch.export.load(stream, extra_files=extra)
        said = json.loads(extra["acmix.json"])
        found = program.module()(images)
    assert said == DESCRIBED
    assert found.shape == (2, 3, 75, 50)
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "timm"}, "timm builds no networks that score every pixel"),
        ({"format": "torch", "features_only": True}, "without a dense head"),
        ({"format": "torch", "dynamic_size": False, "input_size": 32}, "at least 33 pixels"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        write(shallow("pvt_tiny", "semantic_fpn"), tmp_path / "net", **options)
    assert not (tmp_path / "net").exists()


def test_pools_in_an_export_are_those_of_adaptive_pooling(monkeypatch):
    from acmix_nas.heads.upernet import POOLS, means

    x = torch.randn(2, 3, 7, 11, generator=torch.Generator().manual_seed(0))
    for extent in POOLS:
        expected = means(x, extent)
        with monkeypatch.context() as patch:
            patch.setattr(torch.compiler, "is_exporting", lambda: True)
            assert torch.allclose(means(x, extent), expected, atol=1e-6)
