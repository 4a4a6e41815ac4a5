"""Operators that multiply and that both counters leave out: the answer is "cannot tell", with their names."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention

from acmix_nas.cost.blind import multiplying
from acmix_nas.cost.counters import CrossCheck, cross_check


class Of(nn.Module):
    """A function as a module, with the modules that it calls."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.modules_ = function, nn.ModuleList(modules)

    def forward(self, images):
        return self.function(images, *self.modules_)


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images):
        return images @ images


@torch.library.custom_op("acmix_test::product", mutates_args=())
def product(images: torch.Tensor) -> torch.Tensor:
    return images @ images


product.register_fake(torch.empty_like)


def tokens(images):
    return images.flatten(2).transpose(1, 2)


def sampled(images):
    return F.grid_sample(images, images.new_zeros(1, 8, 8, 2), align_corners=False)


def regions(images):
    return torchvision.ops.roi_align(images, [images.new_zeros(1, 4)], 3)


BLIND = {
    "deform_conv2d": Of(
        lambda images, offsets, layer: layer(images, offsets(images)),
        nn.Conv2d(3, 18, 3, padding=1),
        torchvision.ops.DeformConv2d(3, 8, 3, padding=1),
    ),
    "grid_sampler": Of(sampled),
    "roi_align": Of(regions),
    "lstm": Of(lambda images, layer: layer(tokens(images))[0], nn.LSTM(3, 5, batch_first=True)),
    "gru": Of(lambda images, layer: layer(tokens(images))[0], nn.GRU(3, 5, batch_first=True)),
    "bilinear": Of(lambda images, layer: layer(images.mean((2, 3)), images.mean((2, 3))), nn.Bilinear(3, 3, 5)),
    "cdist": Of(lambda images: torch.cdist(images, images)),
    "mv": Of(lambda images: torch.mv(images[0, 0], images[0, 0, 0])),
    "addbmm": Of(lambda images: torch.addbmm(images[0, 0], images[0], images[0])),
    "outer": Of(lambda images: torch.outer(images[0, 0, 0], images[0, 0, 0])),
    "fft_rfft2": Of(lambda images: torch.fft.rfft2(images)),
    "acmix_test::product": Of(product),
    "PythonOp.Squared": Of(Squared.apply),
    "mul+sum": Of(lambda images: (images * images.flip(1)).sum(1)),
}


@pytest.mark.parametrize("name", BLIND)
def test_what_multiplies_and_is_left_out_is_named(name):
    check = cross_check(BLIND[name], 8)
    assert check.agree is None
    assert check.blind == (name,)
    assert name in check.reason


def test_deformable_convolution_is_not_vouched_for():
    """78 % of this layer is missing from both counts, which are equal."""
    offsets, layer = nn.Conv2d(64, 18, 3, padding=1), torchvision.ops.DeformConv2d(64, 64, 3, padding=1, bias=False)
    check = cross_check(Of(lambda images, *_: layer(images, offsets(images)), offsets, layer), 28, in_chans=64)
    assert check.macs_torch == check.macs_fvcore == 28 * 28 * 64 * 18 * 9
    assert check.agree is None


HARMLESS = {
    "norm of vectors": Of(lambda images: F.normalize(images)),
    "squares": Of(lambda images: (images * images).sum(1)),
    "scaled": Of(lambda images: (images * 0.5).sum(1) + images.mul(images.new_ones(())).mean()),
    "activations": nn.Sequential(nn.Hardswish(), nn.PReLU(), nn.SiLU(), nn.GELU(), nn.Softplus(), nn.GLU(2)),
    "resized": nn.Upsample(scale_factor=2, mode="bicubic"),
    "unfolded": nn.Sequential(nn.Unfold(3, padding=1), nn.Fold(8, 3, padding=1)),
    "shuffled": nn.Sequential(nn.ChannelShuffle(3), nn.PixelUnshuffle(2), nn.ReflectionPad2d(1), nn.AvgPool2d(2)),
    "gated": Of(lambda images: images * images.mean((2, 3), keepdim=True).sigmoid()),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_holds_no_multiply_adds_hides_nothing(name):
    check = cross_check(HARMLESS[name], 8)
    assert (check.agree, check.blind, check.reason) == (True, (), None)


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (nn.Conv2d(3, 5, 3, padding="same", bias=False), 64 * 5 * 27),
        (Of(lambda images: torch.einsum("bchw,bdhw->bcd", images, images)), 3 * 3 * 64),
        (nn.ConvTranspose2d(3, 5, 2, bias=False), 64 * 3 * 5 * 4),
    ],
)
def test_products_under_another_name_are_counted_by_both(function, macs):
    check = cross_check(function, 8)
    assert (check.macs_fvcore, check.macs_torch, check.agree) == (macs, macs, True)


def test_an_einsum_is_counted_to_the_number():
    function = Of(lambda images: torch.einsum("bchw,bdhw->bcd", images, images))
    check = cross_check(function, (103, 107), in_chans=11)
    assert check.macs_fvcore == check.macs_torch == 11 * 11 * 103 * 107


def test_an_unknown_operator_is_taken_to_multiply():
    kinds = ["aten::softmax", "aten::relu_", "aten::mul", "vision::new", "aten::of_next_year", "torchvision::nms"]
    assert multiplying(kinds) == ("of_next_year", "vision::new")


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_the_reason_of_a_failure_is_the_real_one():
    """flex_attention runs on the CPU; under the counting mode it raises TypeError."""

    def attend(images):
        q = images.flatten(2)[:, None]
        return flex_attention(q, q, q)

    check = cross_check(Of(attend), 4)
    assert (check.macs_torch, check.agree) == (None, None)
    assert check.failures["torch"].startswith("TypeError: ")
    assert "flex_attention" in check.failures["torch"]
    assert "torch's counter failed: TypeError" in check.reason


def test_data_dependent_models_are_counted_on_the_cpu():
    def attend(images):
        some = images.flatten(2)[0, 0].nonzero()  # has no size on the meta device
        q, v = images.new_zeros(1, 2, 5, 3), images.new_zeros(1, 2, 5, 7)
        return F.scaled_dot_product_attention(q, q, v).sum() + some.sum()

    check = cross_check(Of(attend), 4)
    assert check.macs_torch == check.macs_fvcore == 2 * 5 * 5 * (3 + 7)
    assert check.agree is True


def test_parameters_that_are_passed_to_modules_do_not_stop_the_count():
    """torch's module tracker asserts on an argument that takes a gradient, as timm's PiT passes its class token."""

    class Added(nn.Module):
        def forward(self, images, token):
            return images + token

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.add = nn.Parameter(torch.zeros(3, 1, 1)), Added()

        def forward(self, images):
            return self.add(images, self.token.expand(3, 2, 2)[:, :1, :1])

    model = Tokens()
    check = cross_check(model, 4)
    assert (check.macs_torch, check.failures) == (0, {})
    assert model.token.requires_grad


def test_three_answers():
    counts = {"macs": None, "unseen_macs": None, "macs_fvcore": 10, "fvcore_norms": 0}
    assert CrossCheck(**counts, macs_torch=10).agree is True
    assert CrossCheck(**counts, macs_torch=9).agree is False
    assert CrossCheck(**counts, macs_torch=10, blind=("gru",)).agree is None
    assert CrossCheck(**counts, macs_torch=None, failures={"torch": "TypeError: no"}).agree is None
