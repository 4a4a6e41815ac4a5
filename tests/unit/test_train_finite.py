"""Weights or outputs that are no numbers are not scored."""

import pytest
import torch
from study_pieces import small_setting
from torch import nn

from acmix_nas.arch import Arch
from acmix_nas.models import named_arch
from acmix_nas.train import Training
from acmix_nas.train.scoring import NotFiniteError, check_weights
from acmix_nas.train.trial import build_proxy


@pytest.fixture(scope="module")
def setting():
    return small_setting(images=10)


def training(setting):
    arch: Arch = named_arch("acmix_swin_tiny_patch4_window7_224")
    return Training(build_proxy(arch, setting), setting.splits, setting.budget)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_not_scored(setting, value):
    made = training(setting)
    with torch.no_grad():
        next(made.model.parameters()).view(-1)[-1] = value
    with pytest.raises(NotFiniteError, match=r"1 of \d+ tensors of the weights contain NaN or infinity, the first is "):
        made.score()


def test_an_epoch_that_ends_in_such_weights_has_no_score(setting, monkeypatch):
    made = training(setting)
    learnt = made._pass

    def spoil():
        loss = learnt()
        with torch.no_grad():
            list(made.model.parameters())[-1].fill_(float("nan"))
        return loss

    monkeypatch.setattr(made, "_pass", spoil)
    with pytest.raises(NotFiniteError):
        made.epoch()
    assert made.progress.scores == []


def test_outputs_that_are_no_numbers_are_not_scored(setting):
    class Odd(nn.Module):
        """Divides nothing by nothing for some images."""

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, len(setting.splits.classes))

        def forward(self, images):
            dark = images.mean((1, 2, 3), keepdim=True)[:, 0, 0]
            return self.linear(dark) + (dark - dark) / (dark > dark.median()).float()

    made = Training(Odd(), setting.splits, setting.budget)
    with pytest.raises(NotFiniteError, match=r"outputs contain NaN for \d+ of \d+ images"):
        made.score()


def test_a_mask_may_hold_infinity_and_running_statistics_no_nan():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("mask", torch.full((3,), -float("inf")))
    check_weights(model)
    check_weights(nn.ReLU())
    model[1].running_var[0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"1\.running_var"):
        check_weights(model)
