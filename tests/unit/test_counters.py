import logging

import pytest
import torch
from torch import nn

from acmix_nas.cost.counters import macs_fvcore, macs_torch

CONVOLUTION = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(5 * 7 * 7, 11))
EXACT = 7 * 7 * 5 * 3 * 9 + 5 * 7 * 7 * 11


class Attention(nn.Module):
    """Six tokens of four features attend; the product of q and k is elementwise."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = images.flatten(2)
        return (tokens * tokens).sum(1)


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
