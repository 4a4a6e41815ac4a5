"""Zero-cost scores against their definitions, written out with NumPy for small networks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from by_night import nightly_but
from study_pieces import SPACE, small_setting
from torch import nn

from acmix_nas.errors import StudyError
from acmix_nas.experiments.zero_cost import FILE, zero_costs
from acmix_nas.space import load_space
from acmix_nas.tasks.classification import TASK
from acmix_nas.train import Budget
from acmix_nas.train.loader import Batch
from acmix_nas.train.zero_cost import SCORES, jacov, naswot, synflow, zero_cost_scores, zico

BUDGET = Budget(epochs=1, images=12, batch_size=6, learning_rate=1e-3, label_smoothing=0.0)


def batches(count: int = 2, images: int = 6, channels: int = 2, size: int = 4) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        Batch(torch.randn(images, channels, size, size, generator=generator), torch.arange(images) % 3, images, images)
        for _ in range(count)
    ]


class Small(nn.Module):
    """A convolution, a ReLU that is a function, a norm, a GELU that is a module, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(2, 5, 3), nn.LayerNorm([5, 2, 2]), nn.GELU()
        self.head = nn.Linear(20, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.act(self.norm(self.conv(x).relu())).flatten(1))
        return y


def test_synflow_of_a_chain_is_its_flow_once_for_each_layer():
    first, second = nn.Linear(32, 7, bias=False), nn.Linear(7, 3, bias=False)
    model = nn.Sequential(nn.Flatten(), first, nn.LayerNorm(7), second)
    flow = (second.weight.abs().double() @ first.weight.abs().double()).sum()
    assert synflow(model, batches(), TASK, BUDGET) == pytest.approx(math.log(2 * float(flow.detach())))


def test_naswot_is_the_determinant_of_how_alike_codes_are():
    torch.manual_seed(1)
    model, images = Small(), batches()[0].images
    with torch.no_grad():
        conv = model.conv(images)
        codes = np.concatenate([(conv > 0).flatten(1).numpy(), (model.norm(conv.relu()) > 0).flatten(1).numpy()], 1)
    alike = np.array([[float((one == other).sum()) for other in codes] for one in codes])
    assert naswot(model, batches(), TASK, BUDGET) == pytest.approx(np.linalg.slogdet(alike).logabsdet)


def test_zico_is_what_gradients_are_over_how_they_vary():
    torch.manual_seed(2)
    model, seen = Small(), batches()
    sizes: dict[str, list[np.ndarray]] = {}
    for batch in seen:
        model.zero_grad()
        nn.functional.cross_entropy(model(batch.images), batch.targets).backward()
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                sizes.setdefault(name, []).append(np.abs(weight.grad.double().numpy()))
    expected = 0.0
    for of in sizes.values():
        mean, deviation = np.mean(of, 0), np.std(of, 0, ddof=1)
        expected += np.log((mean[deviation > 0] / deviation[deviation > 0]).sum())
    assert zico(model, seen, TASK, BUDGET) == pytest.approx(expected, rel=1e-5)


def test_jacov_is_that_of_the_correlations_of_input_gradients():
    torch.manual_seed(3)
    model, images = Small(), batches()[0].images
    gradients = []
    for image in images:
        one = image[None].clone().requires_grad_()
        model(one).sum().backward()
        gradients.append(one.grad.flatten().double().numpy())
    values = np.linalg.eigvalsh(np.corrcoef(gradients)) + 1e-5
    assert jacov(model, batches(), TASK, BUDGET) == pytest.approx(-(np.log(values) + 1 / values).sum(), rel=1e-3)


def test_images_whose_gradients_are_the_same_score_lowest():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    assert jacov(linear, batches(), TASK, BUDGET) < jacov(Small(), batches(), TASK, BUDGET) - 1e4


@pytest.mark.parametrize("name", nightly_but("swin_t", of=("swin_t", "resnet26", "san10", "pvt_tiny")))
def test_every_space_has_them_and_they_repeat(name):
    space, setting = load_space(name), small_setting(images=20)
    setting = replace(setting, proxy=replace(space.proxies["cpu"], batch_size=8))
    arch = space.build(space.first["paper"])
    before = torch.get_rng_state()
    scores = zero_cost_scores(arch, setting, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(scores) == list(SCORES)
    assert all(map(math.isfinite, scores.values()))
    torch.rand(3)
    assert zero_cost_scores(arch, setting, seed=0) == scores
    assert zero_cost_scores(arch, setting, seed=1) != scores


def test_scores_are_kept_and_there_are_none_of_a_few_images(tmp_path):
    setting = small_setting(images=20)
    lone = replace(
        setting.splits,
        train=type(setting.splits.train)(
            images=setting.splits.train.images[:1], targets=setting.splits.train.targets[:1]
        ),
    )
    archs, told = [SPACE.build(values) for values in SPACE.first.values()], []
    with_one = replace(setting, splits=lone)
    found = zero_costs(archs, with_one, seed=0, folder=tmp_path, tell=lambda *of: told.append(of))
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert found == [dict.fromkeys(SCORES)] * 2
    text = (tmp_path / FILE).read_text()
    assert zero_costs(archs, with_one, seed=0, folder=tmp_path, tell=lambda *of: None) == found
    assert (tmp_path / FILE).read_text() == text
    for line, message in (
        (b"\xff\xfe\n", "it is no text"),
        (b"\n", "line 3"),
        (text.splitlines()[0].replace("null", '"high"').encode() + b"\n", "line 3.scores.synflow: .* is needed"),
        (text.splitlines()[0].replace("null", "Infinity").encode() + b"\n", "Infinity"),
    ):
        (tmp_path / FILE).write_bytes(text.encode() + line)
        with pytest.raises(StudyError, match=message):
            zero_costs(archs, with_one, seed=0, folder=tmp_path, tell=lambda *of: None)
    (tmp_path / FILE).write_text(text)
    other = zero_costs(archs, setting, seed=0, folder=tmp_path, tell=lambda *of: None)
    assert other != found
