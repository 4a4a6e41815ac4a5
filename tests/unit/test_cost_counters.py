import logging

import pytest
import torch
from by_night import nightly_but
from torch import nn

from acmix_nas.arch import Mixer
from acmix_nas.cost.counters import CrossCheck, count_fvcore, cross_check, macs_torch
from acmix_nas.models import build_model, merge, named_arch

CONVOLUTION = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(5 * 7 * 7, 11))
EXACT = 7 * 7 * 5 * 3 * 9 + 5 * 7 * 7 * 11


class Attention(nn.Module):
    """Six tokens of four features attend; the product of q and k is elementwise."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = images.flatten(2)
        return (tokens * tokens).sum(1)


class Fused(nn.Module):
    """Two heads, five queries of three channels over seven keys, values of eleven channels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        q, k, v = (images.new_zeros(1, 2, *size) for size in ((5, 3), (7, 3), (7, 11)))
        return nn.functional.scaled_dot_product_attention(q, k, v) + images.sum()


def macs_fvcore(model: nn.Module, input_size, **options) -> int:
    return count_fvcore(model, input_size, **options).macs


@pytest.mark.parametrize("counter", [macs_fvcore, macs_torch])
def test_fused_attention_is_both_of_its_products(counter):
    assert counter(Fused(), 4) == 2 * 5 * 7 * (3 + 11)


@pytest.mark.parametrize("counter", [macs_fvcore, macs_torch])
def test_images_need_not_be_square(counter):
    assert counter(CONVOLUTION[0], (5, 9)) == 5 * 9 * 5 * 3 * 9


@pytest.mark.parametrize("counter", [macs_fvcore, macs_torch])
def test_convolutions_and_products_are_counted_as_multiply_adds(counter):
    assert counter(CONVOLUTION, 7) == EXACT


@pytest.mark.parametrize("counter", [macs_fvcore, macs_torch])
def test_elementwise_products_are_left_out_as_documented(counter):
    assert counter(Attention(), 7) == 0


@pytest.mark.parametrize("counter", [macs_fvcore, macs_torch])
def test_other_channels_can_be_asked_for(counter):
    assert counter(nn.Conv2d(1, 2, 1, bias=False), 5, in_chans=1) == 50


def test_only_fvcore_counts_norms():
    norm = nn.BatchNorm2d(3)
    assert macs_fvcore(norm, 7) > 0
    assert macs_torch(norm, 7) == 0


@pytest.mark.parametrize("counter", [macs_fvcore, macs_torch])
def test_the_model_stays_as_it_was(counter):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    counter(model, 5)
    assert model.training
    assert next(model.parameters()).device.type == "cpu"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_fvcore_says_nothing_and_its_logger_is_left_as_found(caplog):
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    macs_fvcore(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU()), 5)
    assert caplog.records == []
    assert logger.level == level


PUBLISHED = {
    "acmix_resnet26": (2.168e9, 2.155e9, 61.5e6),
    "acmix_swin_tiny_patch4_window7_224": (4.664e9, 4.645e9, 0),
}
"""What fvcore and torch count on the published code, and what both miss."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_counters_see_what_they_see_of_the_published_code(name):
    check = cross_check(build_model(named_arch(name)))
    fvcore, by_torch, unseen = PUBLISHED[name]
    assert check.macs_fvcore == pytest.approx(fvcore, abs=0.5e6)
    assert check.macs_torch == pytest.approx(by_torch, abs=0.5e6)
    assert check.unseen_macs == pytest.approx(unseen, abs=0.05e6)
    assert check.macs - check.unseen_macs == check.macs_torch == check.macs_fvcore - check.fvcore_norms
    assert check.agree is True
    for ignored in ("softmax", "mul", "unfold") if unseen else ("softmax", "roll", "pad", "gelu"):
        assert check.ignored[ignored] > 0


@pytest.mark.parametrize(
    "name",
    nightly_but(
        "acmix_pvt_tiny",
        of=("acmix_resnet26", "acmix_san10", "acmix_pvt_tiny", "acmix_swin_tiny_patch4_window7_224"),
    ),
)
def test_counters_watch_every_host_and_change_no_form(name):
    model = build_model(named_arch(name), width=0.25, img_size=64)
    check = cross_check(model, 64)
    assert (check.agree, check.reason) == (True, None)


def test_what_is_merged_hides_the_products_of_local_attention():
    model = merge(build_model(named_arch("acmix_resnet26"), width=0.25))
    check = cross_check(model, 33)
    assert (check.macs, check.agree, check.blind) == (None, None, ("mul+sum",))


def test_a_foreign_network_is_checked_by_the_counters_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    check = cross_check(model, (5, 7))
    assert check.macs is check.unseen_macs is None
    assert check.macs_torch == 3 * 4 * 35
    assert (check.macs_fvcore, check.fvcore_norms) == (3 * 4 * 35 + 2 * 4 * 35, 2 * 4 * 35)
    assert check.agree is True
    assert check.ignored == {"relu": 1}


def test_a_counter_that_sees_less_leaves_the_question_open():
    class Added(nn.Module):
        def forward(self, images):
            return torch.baddbmm(images[0], images[0], images[0])

    check = cross_check(Added(), 4)
    assert (check.macs_torch, check.macs_fvcore, check.agree) == (3 * 4**3, 0, None)
    assert (check.ignored["baddbmm"], check.blind) == (1, ("baddbmm",))


def test_a_counter_that_fails_leaves_the_question_open():
    check = cross_check(nn.Linear(9, 2), 4)
    assert (check.macs_torch, check.macs_fvcore, check.agree) == (None, None, None)
    assert all("cannot be multiplied" in check.failures[counter] for counter in ("fvcore", "torch"))


def test_our_count_must_agree_too():
    counts = {"macs_fvcore": 12, "fvcore_norms": 2, "macs_torch": 10}
    assert CrossCheck(macs=13, unseen_macs=3, **counts).agree is True
    assert CrossCheck(macs=12, unseen_macs=3, **counts).agree is False
    assert CrossCheck(macs=None, unseen_macs=None, **counts).agree is True


def test_a_changed_model_is_checked_by_the_counters_alone():
    mixer = Mixer(operator="conv")
    arch = type(named_arch("acmix_resnet26")).canonical(host="resnet", stages=[[mixer]] * 4)
    model = build_model(arch, width=0.25)
    assert cross_check(model, 33).macs is not None
    check = cross_check(merge(model), 33)
    assert (check.macs, check.agree) == (None, True)
    assert count_fvcore(merge(model), 33).norms < count_fvcore(model, 33).norms
