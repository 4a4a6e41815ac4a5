import contextlib
import io
import pickle
import re
import subprocess
import sys
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import acmix_nas
from acmix_nas import ACmix, convert
from acmix_nas.dropin import Conversion, ConversionError
from acmix_nas.errors import AcmixError

DOC = (Path(__file__).parent.parent.parent / "docs" / "convert.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", DOC, flags=re.DOTALL)


def net(*layers):
    return nn.Sequential(*layers)


def vit(**options):
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 5}
    return timm.models.VisionTransformer(**{**sizes, **options}).eval()


@pytest.mark.parametrize(("code", "printed"), EXAMPLES)
def test_every_example_of_the_page(code, printed):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    assert out.getvalue() == printed


def test_the_page_has_three_examples():
    assert len(EXAMPLES) == DOC.count("```python") == 3


def test_the_names_are_functions_in_every_order():
    """A module called `convert` would hide the function as soon as something imported it."""
    assert not {name for name in acmix_nas.__all__ if find_spec(f"acmix_nas.{name}")}
    code = "import acmix_nas.dropin, acmix_nas.reference, timm\nassert not timm.list_models('acmix_*')\n"
    code += "assert callable(acmix_nas.convert) and timm.list_models('acmix_*')"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("size", [(7, 12), (1, 1)])
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 8, 3, padding=1),
        nn.Conv2d(6, 8, 3, 2, 1, bias=False),
        nn.Conv2d(6, 8, 5, 3, 4, dilation=2),
        nn.Conv2d(6, 8, (3, 3), padding="same", dilation=(3, 3)),
        timm.layers.Conv2dSame(6, 8, 3, 2),
    ],
)
def test_channels_stride_dilation_and_bias_stay(conv, size):
    mixed = convert(net(conv), "0")
    x = torch.randn(2, 6, *size)
    assert mixed(x).shape == (2, 8, -(-size[0] // conv.stride[0]), -(-size[1] // conv.stride[0]))
    (operator,) = mixed
    assert isinstance(operator, ACmix)
    assert operator.attention.window.dilation == conv.dilation[0]
    assert operator.convolution.fc.out_features == conv.kernel_size[0] ** 2
    assert (operator.convolution.bias is None) == (conv.bias is None)
    (replaced,) = mixed.conversion.replaced
    assert replaced.carried == (() if conv.bias is None else ("bias",))
    assert replaced.dropped == ("weight",)


def test_the_bias_is_the_old_one():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    assert torch.equal(convert(net(conv), "0")[0].convolution.bias, conv.bias)
    assert convert(net(conv), "0", combine="att").conversion.replaced[0].dropped == ("weight", "bias")


def test_the_given_network_stays():
    model = net(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
    before = deepcopy(model.state_dict())
    mixed = convert(model, "*")
    assert isinstance(model[0], nn.Conv2d)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not hasattr(model, "conversion")
    assert pickle.loads(pickle.dumps(mixed)).conversion == mixed.conversion == Conversion(mixed.conversion.replaced)


def test_dtype_mode_and_device_stay():
    mixed = convert(net(nn.Conv2d(4, 4, 3, padding=1)).double().eval().to("meta"), "0")
    assert not mixed[0].training
    assert {(value.dtype, value.device.type) for value in mixed.parameters()} == {(torch.float64, "meta")}


def test_options_reach_the_operator():
    options = {"num_heads": 2, "attention": "window", "attn_kernel": 3, "conv_kernel": 5, "conv_impl": "learnable"}
    mixed = convert(net(nn.Conv2d(4, 6, 3, padding=1)), "0", conv_init="kaiming", combine="channel", **options)
    expected = ACmix(4, 6, conv_init="kaiming", combine="channel", **options)
    shapes = {name: value.shape for name, value in expected.state_dict().items()}
    assert {name: value.shape for name, value in mixed[0].state_dict().items()} == {
        **shapes,
        "convolution.bias": (6,),
    }


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["0", "1.0", "1.2"]),
        ("1.*", ["1.0", "1.2"]),
        (re.compile(r"\d"), ["0"]),
        (("0", re.compile(r".*2")), ["0", "1.2"]),
    ],
)
def test_patterns(pattern, names):
    """1x1 convolutions and other layers are passed over."""
    convs = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)]
    model = net(convs[0], net(convs[1], nn.Conv2d(4, 4, 1), convs[2]), nn.BatchNorm2d(4))
    mixed = convert(model, pattern)
    assert [replaced.name for replaced in mixed.conversion.replaced] == names
    assert [name for name, module in mixed.named_modules() if isinstance(module, ACmix)] == names


def test_a_shared_module_stays_shared():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    mixed = convert(net(conv, nn.ReLU(), conv), "*")
    assert mixed[0] is mixed[2]
    assert isinstance(mixed[0], ACmix)
    assert len(mixed.conversion.replaced) == 1


@pytest.mark.parametrize(
    ("layer", "pattern", "message"),
    [
        (nn.Conv2d(4, 4, 3, groups=4, padding=1), "0", r"0, Conv2d\(.*groups=4.*: .*dense convolutions; this has 4"),
        (nn.Conv2d(4, 4, 4), "0", "odd kernel; this has 4"),
        (nn.Conv2d(4, 4, (3, 1), padding=1), "0", "kernel_size is the same in both directions; it is 3 x 1"),
        (nn.Conv2d(4, 4, 3, (1, 2), 1), "0", "stride is the same"),
        (nn.Conv2d(4, 4, 3), "0", r"with padding 1; this has \(0, 0\)"),
        (nn.Conv2d(4, 4, 3, padding="valid"), "0", "with padding 1; this has valid"),
        (nn.Conv2d(4, 6, 3, padding=1), "0", "num_heads divides out_channels; 4 does not divide 6"),
        (nn.Conv2d(4, 4, 3, padding=1), "layer*", "matches 'layer.'; what matches is nothing"),
        (nn.Conv2d(4, 4, 1), "*", r"what matches is Conv2d\."),
        (nn.ReLU(), re.compile("0"), r"matches '0'; what matches is ReLU\."),
        (nn.Conv2d(4, 4, 3, padding=1), ("0", "1"), "matches '1'"),
        (nn.Conv2d(4, 4, 3, padding=1), 0, "a glob or a compiled regular expression; it is 0"),
        (nn.MultiheadAttention(4, 2), "0", "0, MultiheadAttention: the positions of its tokens on the map"),
        (timm.layers.Attention(12, 3), "0", "0, Attention: the positions of its tokens"),
    ],
)
def test_what_cannot_be_replaced_is_one_clear_error(layer, pattern, message):
    with pytest.raises(AcmixError, match=message):
        convert(net(layer), pattern)


def test_an_unknown_option_value():
    with pytest.raises(ConversionError, match=r"0, Conv2d.*conv_impl is one of shift, .*; it is 'fast'"):
        convert(net(nn.Conv2d(4, 4, 3, padding=1)), "0", conv_impl="fast")


@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}, {"qkv_bias": False}])
def test_attention_alone_computes_what_it_did(options):
    model = vit(**options)
    mixed = convert(nn.ModuleDict({"backbone": model}), "*.attn", combine="att")["backbone"]
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(mixed(image), model(image), rtol=1e-4, atol=1e-5)


def test_attention_with_a_convolution_path():
    """alpha times what it was, plus beta times the convolution of the patches, row by row."""
    model = vit(img_size=(24, 40))
    mixed = convert(model, "blocks.0.attn")
    assert mixed.conversion.replaced[0].carried == ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias")
    tokens = torch.randn(2, 1 + 3 * 5, 12)
    mixer = mixed.blocks[0].attn
    with torch.no_grad():
        kernels = mixer.operator.convolution
        conv = kernels(mixer.operator.qkv(tokens[:, 1:].unflatten(1, (3, 5)))).flatten(1, 2)
        expected = 0.5 * model.blocks[0].attn(tokens) + 0.5 * nn.functional.pad(conv, (0, 0, 1, 0))
        torch.testing.assert_close(mixer(tokens), expected, rtol=1e-4, atol=1e-5)
    mixed(torch.randn(1, 3, 24, 40)).sum().backward()


def test_local_attention_over_patches_without_a_class_token():
    mixed = convert(vit(class_token=False, global_pool="avg"), "*.attn", attention="local", attn_kernel=3)
    assert mixed.conversion.replaced[0].dropped == ("proj.weight", "proj.bias")
    assert mixed(torch.randn(1, 3, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ({"qk_norm": True}, {}, r"blocks\.0\.attn, Attention: ACmix has no place for q_norm, k_norm"),
        ({"attn_drop_rate": 0.1}, {}, "no place for attn_drop"),
        ({"reg_tokens": 2}, {}, "num_prefix_tokens=3"),
        ({"dynamic_img_size": True}, {}, "dynamic_img_size=True"),
        ({"patch_drop_rate": 0.5}, {}, "patch_drop=PatchDropout"),
        ({}, {"num_heads": 4}, "num_heads stays 3"),
        ({}, {"attention": "local"}, "a class token works only with global attention"),
        ({}, {"combine": "conv"}, "a class token works only with"),
    ],
)
def test_attention_that_cannot_be_replaced(model, options, message):
    with pytest.raises(ConversionError, match=message):
        convert(vit(**model), "*.attn", **options)


def test_windows_of_swin_are_refused():
    with torch.device("meta"):
        model = timm.create_model("swin_tiny_patch4_window7_224")
    with pytest.raises(ConversionError, match=r"layers\.0\.blocks\.0\.attn, WindowAttention: .*create acmix_swin_tiny"):
        convert(model, "*.attn")


def test_tokens_that_do_not_fill_the_grid():
    mixer = convert(vit(), "*.attn").blocks[0].attn
    with pytest.raises(ConversionError, match="converted for 4 x 4 patches and 1 class tokens; it got 18 tokens"):
        mixer(torch.randn(1, 18, 12))
    with pytest.raises(ConversionError, match="takes no attention mask"):
        mixer(torch.randn(1, 17, 12), is_causal=True)


def test_a_converted_network_converts_again():
    model = net(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    mixed = convert(convert(model, "0"), "1")
    assert [replaced.name for replaced in mixed.conversion.replaced] == ["1"]
    with pytest.raises(ConversionError, match="what matches is "):
        convert(mixed, "*")
    assert acmix_nas.convert is convert
