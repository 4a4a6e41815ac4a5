"""The convolution of an enlarged map, from the small map, against the map really enlarged."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from acmix_nas.arch import CONV_IMPL, Mixer
from acmix_nas.models import merge, plain_form
from acmix_nas.operators import _enlarged
from acmix_nas.operators.acmix import build


@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    ratio=st.integers(1, 5),
    dilation=st.integers(1, 3),
    size=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    depths=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_it_is_the_convolution_of_repeated_pixels(kernel, ratio, dilation, size, depths, seed):
    generator = torch.Generator().manual_seed(seed)
    small = torch.randn(2, *size, depths * 2, dtype=torch.float64, generator=generator)
    weight = torch.randn(depths * 3, 2, kernel, kernel, dtype=torch.float64, generator=generator)
    large = small.repeat_interleave(ratio, 1).repeat_interleave(ratio, 2).permute(0, 3, 1, 2)
    expected = F.conv2d(large, weight, padding=dilation * (kernel // 2), dilation=dilation, groups=depths)
    summed = _enlarged.summed(weight, ratio, dilation)
    assert summed.shape[-1] == _enlarged.small_extent(kernel, ratio, dilation)
    got = _enlarged.convolved(small, summed, ratio, depths)
    torch.testing.assert_close(got.permute(0, 3, 1, 2), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("impl", CONV_IMPL)
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("heads", [1, 3, 12])
@pytest.mark.parametrize("size", [(4, 6), (9, 3), (5, 7)])
def test_reduced_keys_are_convolved_as_if_enlarged(impl, kernel, heads, size):
    """On maps that the reduction divides, and on others; with as many heads as no longer compose."""
    torch.manual_seed(0)
    mixer = Mixer.canonical(
        attention="global", num_heads=heads, conv_kernel=kernel, conv_impl=impl, conv_init="kaiming", combine="channel"
    )
    ratio = 3 if size == (9, 3) else 2
    site = {"sr_ratio": ratio, "fc_bias": True, "kernel_bias": True, "dilation": 2}
    module = build(mixer, in_channels=24, out_channels=24, **site).double().eval()
    x = torch.randn(2, 24, *size, dtype=torch.float64)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.1, 0.3)
        with plain_form(module):
            expected = module(x)
        for form in (module, merge(module)):
            torch.testing.assert_close(form(x), expected, rtol=1e-9, atol=1e-9)
