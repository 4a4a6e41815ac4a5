"""ACmix against the naive float64 reference, and against itself in other types and layouts."""

import naive_acmix
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close
from torch import nn

from acmix_nas.arch import COMBINE, CONV_IMPL, Mixer
from acmix_nas.operators.acmix import ACmix, build
from acmix_nas.operators.attention._windows import reflected

BATCH, IN, HEADS, DEPTH = 2, 7, 3, 5
OUT = HEADS * DEPTH

GEOMETRIES = [
    # stride, dilation, conv_kernel, attn_kernel, (height, width)
    (1, 1, 1, 1, (5, 3)),
    (1, 1, 3, 7, (7, 5)),
    (1, 2, 5, 3, (7, 3)),
    (1, 3, 3, 5, (5, 7)),
    (1, 1, 7, 7, (1, 1)),
    (2, 1, 3, 7, (7, 5)),
    (2, 2, 5, 5, (4, 3)),
    (2, 1, 3, 3, (1, 2)),
    (3, 1, 3, 3, (7, 5)),
    (3, 2, 3, 3, (2, 7)),
    (3, 3, 1, 5, (1, 1)),
]


def randomized(module):
    """All weights drawn anew, so that no start value hides a mistake."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double()


def naive(module, x, **described):
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}
    return np.stack([naive_acmix.acmix(image, weights, **described) for image in x.numpy()])


def check(x, *, attention, combine, impl, attn_kernel, conv_kernel, stride, dilation, fc_bias=True):
    module = ACmix(
        x.shape[1], OUT, num_heads=HEADS, attention=attention, attn_kernel=attn_kernel, conv_kernel=conv_kernel,
        stride=stride, dilation=dilation, conv_impl=impl, combine=combine, fc_bias=fc_bias,
    )  # fmt: skip
    expected = naive(
        randomized(module), x, attention=attention, combine_rule=combine, impl=impl, heads=HEADS,
        attn_kernel=attn_kernel, conv_kernel=conv_kernel, stride=stride, dilation=dilation,
    )  # fmt: skip
    assert_close(module(x), expected)


@pytest.mark.parametrize("attention", ["local", "window"])
@pytest.mark.parametrize("combine", COMBINE)
@pytest.mark.parametrize("impl", CONV_IMPL)
def test_every_combination_is_the_reference(attention, combine, impl):
    x = torch.randn(BATCH, IN, 5, 3, dtype=torch.float64)
    check(x, attention=attention, combine=combine, impl=impl, attn_kernel=3, conv_kernel=3, stride=1, dilation=1)


@pytest.mark.parametrize("attention", ["local", "window"])
@pytest.mark.parametrize(("stride", "dilation", "conv_kernel", "attn_kernel", "size"), GEOMETRIES)
def test_every_geometry_is_the_reference(attention, stride, dilation, conv_kernel, attn_kernel, size):
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    for impl in ("shift", "learnable", "full"):
        check(
            x, attention=attention, combine="learned", impl=impl, attn_kernel=attn_kernel,
            conv_kernel=conv_kernel, stride=stride, dilation=dilation, fc_bias=False,
        )  # fmt: skip


@pytest.mark.parametrize("attention", ["local", "window"])
@pytest.mark.parametrize("stride", [2, 3])
def test_attention_alone_projects_queries_at_stride(attention, stride):
    x = torch.randn(1, 2, 7, 5, dtype=torch.float64)
    check(x, attention=attention, combine="att", impl="full", attn_kernel=3, conv_kernel=3, stride=stride, dilation=1)


@pytest.mark.parametrize("size", [(6, 9), (7, 5), (3, 8), (2, 4)])
@pytest.mark.parametrize("conv_on", ["rolled", "image"])
def test_shifted_windows_are_the_reference(size, conv_on):
    """The convolution path of a shifted block sees the rolled map, or the image."""
    mixer = Mixer(
        attention="window", attn_kernel=3, conv_kernel=3, num_heads=HEADS, conv_impl="full", conv_init="shift",
        combine="learned",
    )  # fmt: skip
    place = {"map_size": size, "shifted": True, "conv_on": conv_on}
    module = randomized(build(mixer, in_channels=2, out_channels=OUT, fc_bias=True, **place))
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}
    shift = tuple(1 if extent > 3 else 0 for extent in size)
    window = tuple(min(extent, 3) for extent in size)
    back = (0, *shift)
    image = x[0].numpy()
    rolled = np.roll(image, [-s for s in back], (0, 1, 2))
    padded = np.pad(rolled, ((0, 0), (0, -size[0] % window[0]), (0, -size[1] % window[1])))
    qkv = np.split(naive_acmix.project(padded, weights["qkv.weight"], weights["qkv.bias"]), 3)
    table = weights["attention.relative_position_bias_table"]
    att = naive_acmix.window_attention(*qkv, table, heads=HEADS, window=window, shift=shift)[:, : size[0], : size[1]]
    att = np.roll(att, back, (0, 1, 2))
    att = naive_acmix.project(att, weights["attention.proj.weight"], weights["attention.proj.bias"])
    seen = rolled if conv_on == "rolled" else image
    conv = naive_acmix.convolution(
        np.split(naive_acmix.project(seen, weights["qkv.weight"], weights["qkv.bias"]), 3),
        weights["convolution.fc.weight"], weights["convolution.fc.bias"], weights["convolution.kernels.weight"],
        impl="full", heads=HEADS, kernel=3, stride=1, dilation=1,
    )  # fmt: skip
    conv = np.roll(conv, back, (0, 1, 2)) if conv_on == "rolled" else conv
    assert_close(module(x), weights["combine.alpha"] * att[None] + weights["combine.beta"] * conv[None])


GEOMETRY = {
    "heads": st.integers(1, 3),
    "depth": st.integers(1, 3),
    "kernel": st.sampled_from([1, 3, 5, 7]),
    "stride": st.integers(1, 3),
    "dilation": st.integers(1, 3),
    "height": st.integers(1, 6),
    "width": st.integers(1, 6),
}


@given(**GEOMETRY)
@settings(max_examples=40, deadline=None)
def test_all_implementations_agree_at_the_start(heads, depth, kernel, stride, dilation, height, width):
    def operator(impl):
        torch.manual_seed(1)
        return ACmix(
            3, heads * depth, num_heads=heads, conv_kernel=kernel, stride=stride, dilation=dilation,
            conv_impl=impl, combine="conv",
        ).double()  # fmt: skip

    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    expected = operator("shift")(x)
    for impl in CONV_IMPL[1:]:
        assert_close(operator(impl)(x), expected.detach())


def test_groupconv_is_shift_whatever_the_weights():
    x = torch.randn(BATCH, IN, 5, 3, dtype=torch.float64)
    shift, groupconv = (
        ACmix(IN, OUT, num_heads=HEADS, conv_kernel=5, conv_impl=impl).double() for impl in ("shift", "groupconv")
    )
    randomized(shift)
    groupconv.load_state_dict(shift.state_dict())
    assert_close(groupconv(x), shift(x).detach())


@given(extent=st.integers(1, 9), padding=st.integers(0, 20))
def test_reflection_is_that_of_numpy(extent, padding):
    expected = np.pad(np.arange(extent), padding, mode="reflect")
    assert reflected(extent, padding, torch.device("cpu")).tolist() == expected.tolist()


@pytest.mark.parametrize("attention", ["local", "window"])
@pytest.mark.parametrize("combine", ["learned", "convex", "channel", "gated"])
def test_gradients_are_right(attention, combine):
    module = randomized(
        ACmix(2, 4, num_heads=2, attention=attention, attn_kernel=3, stride=2, dilation=2, combine=combine)
    )
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,), fast_mode=True)
    module(x).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("attention", ["local", "window"])
@pytest.mark.parametrize("impl", CONV_IMPL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_types_follow_the_input(attention, impl, dtype):
    module = ACmix(IN, OUT, num_heads=HEADS, attention=attention, attn_kernel=3, conv_impl=impl, combine="gated")
    x = torch.randn(BATCH, IN, 5, 3).to(dtype)
    y = module.to(dtype)(x)
    assert y.dtype == dtype
    assert_close(y, module.double()(x.double()).detach())


@pytest.mark.parametrize("attention", ["local", "window"])
@pytest.mark.parametrize("combine", COMBINE)
def test_layouts_give_the_same(attention, combine):
    module = ACmix(IN, OUT, num_heads=HEADS, attention=attention, attn_kernel=3, stride=2, combine=combine).double()
    x = torch.randn(BATCH, IN, 5, 7, dtype=torch.float64)
    expected = module(x).detach()
    assert_close(module(x.to(memory_format=torch.channels_last)), expected)
    assert_close(module(x.transpose(2, 3).contiguous().transpose(2, 3)), expected)
    assert_close(module(torch.stack((x, x), -1)[..., 0]), expected)
    assert module(x[:0]).shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("attention", ["local", "window"])
@pytest.mark.parametrize("combine", COMBINE)
def test_meta_tensors_give_shapes(attention, combine):
    with torch.device("meta"):
        module = ACmix(IN, OUT, num_heads=HEADS, attention=attention, stride=3, combine=combine)
        assert module(torch.empty(BATCH, IN, 5, 7)).shape == (BATCH, OUT, 2, 3)
