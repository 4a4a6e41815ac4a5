"""Patchwise, pairwise and map-wide attention against the naive float64 reference, bare and as their hosts use them."""

import naive_acmix
import numpy as np
import pytest
import torch
from tolerances import assert_close
from torch import nn

from acmix_nas.arch import Mixer
from acmix_nas.errors import ArchError
from acmix_nas.operators.acmix import ACmix, build

MODES = ["patchwise", "pairwise", "global"]
IN, OUT, HEADS = 5, 24, 3

GEOMETRIES = [
    # stride, dilation, attn_kernel, (height, width)
    (1, 1, 1, (2, 3)),
    (1, 1, 3, (5, 3)),
    (2, 2, 3, (4, 3)),
    (3, 1, 5, (3, 5)),
    (2, 1, 3, (1, 2)),
    (1, 2, 3, (1, 1)),
]


def randomized(module):
    """All weights and statistics drawn anew, so that no start value hides a mistake; norms as in inference."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    for name, buffer in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            nn.init.uniform_(buffer, 0.5, 2)
    return module.double().eval()


def arrays(module):
    return {name: value.numpy() for name, value in module.state_dict().items()}


def mixer(attention, **fields):
    values = {
        "attention": attention, "attn_kernel": 3, "conv_kernel": 3, "num_heads": HEADS, "conv_impl": "full",
        "conv_init": "shift", "combine": "learned",
    }  # fmt: skip
    return Mixer.canonical(**{**values, **fields})


@pytest.mark.parametrize("attention", MODES)
@pytest.mark.parametrize("combine", ["att", "learned", "gated"])
@pytest.mark.parametrize(("stride", "dilation", "attn_kernel", "size"), GEOMETRIES)
def test_a_bare_mode_is_the_reference(attention, combine, stride, dilation, attn_kernel, size):
    x = torch.randn(1, IN, *size, dtype=torch.float64)
    module = randomized(
        ACmix(
            IN, OUT, num_heads=HEADS, attention=attention, attn_kernel=attn_kernel, stride=stride, dilation=dilation,
            combine=combine,
        )
    )  # fmt: skip
    expected = naive_acmix.acmix(
        x[0].numpy(), arrays(module), attention=attention, combine_rule=combine, impl="full", heads=HEADS,
        attn_kernel=attn_kernel, conv_kernel=3, stride=stride, dilation=dilation,
    )  # fmt: skip
    assert_close(module(x)[0], expected)


@pytest.mark.parametrize("attention", ["patchwise", "pairwise"])
@pytest.mark.parametrize("impl", ["shift", "learnable", "full"])
@pytest.mark.parametrize("stride", [1, 2])
def test_narrow_queries_and_keys_are_the_reference(attention, impl, stride):
    """As in SAN: 2N maps of q and k and 4N of v at each depth, 4N results there."""
    keys, heads = 6, 3
    described = mixer(attention, num_heads=heads, conv_impl=impl)
    module = randomized(build(described, in_channels=IN, out_channels=OUT, key_channels=keys, stride=stride))
    x = torch.randn(1, IN, 4, 3, dtype=torch.float64)
    weights = arrays(module)
    qkv = naive_acmix.project(x[0].numpy(), weights["qkv.weight"], weights["qkv.bias"])
    qkv = np.split(qkv, [keys, 2 * keys])
    attend = {"patchwise": naive_acmix.patchwise_attention, "pairwise": naive_acmix.pairwise_attention}[attention]
    att = attend(*qkv, weights, kernel=3, stride=stride, dilation=1)
    conv = naive_acmix.convolution(
        qkv, weights["convolution.fc.weight"], np.zeros(9), weights.get("convolution.kernels.weight"),
        impl=impl, heads=heads, kernel=3, stride=stride, dilation=1,
    )  # fmt: skip
    assert_close(module(x)[0], weights["combine.alpha"] * att + weights["combine.beta"] * conv)


def reduced(x, weights, ratio):
    """LayerNorm of the strided convolution of a map padded to whole patches."""
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % ratio), (0, -x.shape[2] % ratio)))
    out = np.zeros((len(x), padded.shape[1] // ratio, padded.shape[2] // ratio))
    for i, j in np.ndindex(out.shape[1:]):
        patch = padded[:, i * ratio : (i + 1) * ratio, j * ratio : (j + 1) * ratio]
        y = (weights["attention.reduction.weight"] * patch).sum((1, 2, 3)) + weights["attention.reduction.bias"]
        y = (y - y.mean()) / np.sqrt(y.var() + 1e-6)
        out[:, i, j] = weights["attention.norm.weight"] * y + weights["attention.norm.bias"]
    return out


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (1, 1)])
@pytest.mark.parametrize("combine", ["att", "learned"])
def test_reduced_keys_are_the_reference(size, combine):
    """As in PVT: the convolution path sees them nearest-upsampled, and ends in a bias."""
    ratio, channels = 2, 6
    site = {"in_channels": channels, "out_channels": channels, "sr_ratio": ratio, "kernel_bias": True}
    module = randomized(build(mixer("global", combine=combine), **site))
    x = torch.randn(1, channels, *size, dtype=torch.float64)
    weights, image = arrays(module), x[0].numpy()
    weight, bias = (np.split(weights[f"qkv.{name}"], 3) for name in ("weight", "bias"))
    small = reduced(image, weights, ratio)
    q, k, v = (naive_acmix.project(m, w, b) for m, w, b in zip((image, small, small), weight, bias, strict=True))
    att = naive_acmix.global_attention(*(m.reshape(channels, -1) for m in (q, k, v)), heads=HEADS).reshape(q.shape)
    expected = naive_acmix.project(att, weights["attention.proj.weight"], weights["attention.proj.bias"])
    if combine == "learned":
        k, v = (np.kron(m, np.ones((ratio, ratio)))[:, : size[0], : size[1]] for m in (k, v))
        conv = naive_acmix.convolution(
            (q, k, v), weights["convolution.fc.weight"], np.zeros(9), weights["convolution.kernels.weight"],
            impl="full", heads=HEADS, kernel=3, stride=1, dilation=1,
        )  # fmt: skip
        conv = conv + weights["convolution.bias"][:, None, None]
        expected = weights["combine.alpha"] * expected + weights["combine.beta"] * conv
    assert_close(module(x)[0], expected)


@pytest.mark.parametrize("combine", ["att", "learned", "channel", "gated"])
def test_a_class_token_attends_and_is_not_convolved(combine):
    module = randomized(ACmix(OUT, num_heads=HEADS, attention="global", combine=combine))
    x, token = torch.randn(1, OUT, 2, 3, dtype=torch.float64), torch.randn(1, 1, OUT, dtype=torch.float64)
    weights, image = arrays(module), x[0].numpy()
    sequence = np.concatenate((token[0].numpy().T, image.reshape(OUT, -1)), 1)[:, None]
    qkv = np.split(naive_acmix.project(sequence, weights["qkv.weight"], weights["qkv.bias"]), 3)
    att = naive_acmix.global_attention(*(part[:, 0] for part in qkv), heads=HEADS)[:, None]
    att = naive_acmix.project(att, weights["attention.proj.weight"], weights["attention.proj.bias"])
    conv = np.zeros_like(att)
    if combine != "att":
        conv[:, :, 1:] = naive_acmix.convolution(
            [part[:, 0, 1:].reshape(image.shape) for part in qkv], weights["convolution.fc.weight"], np.zeros(9),
            weights["convolution.kernels.weight"], impl="full", heads=HEADS, kernel=3, stride=1, dilation=1,
        ).reshape(OUT, 1, -1)  # fmt: skip
    expected = naive_acmix.combine(combine, att, conv, weights, image)
    y_map, y_token = module(x, token)
    assert_close(y_token[0].T, expected[:, 0, :1])
    assert_close(y_map[0].flatten(1), expected[:, 0, 1:])


@pytest.mark.parametrize("attention", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_types_follow_the_input(attention, dtype):
    module = ACmix(IN, OUT, num_heads=HEADS, attention=attention, attn_kernel=3).eval().to(dtype)
    x = torch.randn(2, IN, 5, 3).to(dtype)
    y = module(x)
    assert y.dtype == dtype
    assert_close(y, module.double()(x.double()).detach())


@pytest.mark.parametrize("attention", MODES)
def test_layouts_and_meta_tensors(attention):
    module = ACmix(IN, OUT, num_heads=HEADS, attention=attention, attn_kernel=3, stride=2).double().eval()
    x = torch.randn(2, IN, 5, 7, dtype=torch.float64)
    expected = module(x).detach()
    assert_close(module(x.to(memory_format=torch.channels_last)), expected)
    assert_close(module(x.transpose(2, 3).contiguous().transpose(2, 3)), expected)
    assert module(x[:0]).shape == (0, *expected.shape[1:])
    assert module.to("meta")(x.to("meta")).shape == expected.shape


@pytest.mark.parametrize("attention", MODES)
def test_gradients_are_right(attention):
    module = randomized(ACmix(2, 16, num_heads=2, attention=attention, attn_kernel=3, stride=2)).train()
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,), fast_mode=True)


@pytest.mark.parametrize("attention", ["patchwise", "pairwise"])
def test_channels_share_weights_by_eight(attention):
    with pytest.raises(ArchError, match=f"{attention} attention .* 8 does not divide the 20 channels. Take 16 or 24"):
        ACmix(20, attention=attention)
    with pytest.raises(ArchError, match="is odd; it is 4"):
        ACmix(24, attention=attention, attn_kernel=4)


def test_heads_must_cut_narrow_keys():
    with pytest.raises(ArchError, match="num_heads divides the 4 channels of q and k"):
        build(mixer("patchwise"), in_channels=IN, out_channels=OUT, key_channels=4)
