"""One step: in parts as in one, averaged as the formula says, in the precision that was asked for."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from study_pieces import small_setting
from torch import nn
from torch.nn import functional as F

from acmix_nas.train import RecipeError, Training
from acmix_nas.train.feed import Batch
from acmix_nas.train.step import Step


@pytest.fixture(scope="module")
def setting():
    return small_setting(images=96)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Tanh(), nn.Linear(16, 10))


def batch(count=7):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 28, 28, generator=generator)
    return Batch(images, torch.arange(count) % 10, count, count)


def weights(step):
    return [parameter.detach().clone() for parameter in step.model.parameters()]


@pytest.mark.parametrize("parts", [2, 3, 7, 20])
def test_a_step_in_parts_is_the_step_in_one(setting, parts):
    whole = Step(network(), setting.budget, "cpu")
    split = Step(network(), replace(setting.budget, accumulate=parts), "cpu")
    torch.testing.assert_close(split(batch(), 0), whole(batch(), 0))
    # AdamW's first step is the sign of the gradient: the gradients themselves are compared.
    for one, other in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_the_first_sgd_step_is_down_the_clipped_gradient(setting):
    budget = replace(setting.budget, optimizer="sgd", learning_rate=0.1, warmup=0.0, clip_norm=0.01, weight_decay=0.0)
    step = Step(network(), budget, "cpu")
    before = weights(step)
    expected = network()
    loss = F.cross_entropy(expected(batch().images), batch().targets, label_smoothing=budget.label_smoothing)
    loss.backward()
    norm = math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in expected.parameters()))
    torch.testing.assert_close(step(batch(), 0), loss.detach())
    for old, new, parameter in zip(before, weights(step), expected.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * 0.01 / norm * parameter.grad, atol=1e-7, rtol=1e-4)


def test_without_a_limit_gradients_are_not_clipped(setting):
    step = Step(network(), replace(setting.budget, clip_norm=None), "cpu")
    images = batch()._replace(images=batch().images * 1000)
    step(images, 0)
    assert sum(float(parameter.grad.square().sum()) for parameter in step.model.parameters()) > 5.0**2


def test_images_that_do_not_count_change_no_weight(setting):
    budget = replace(setting.budget, weight_decay=0.0)
    step = Step(network(), budget, "cpu")
    before = weights(step)
    step(batch(1)._replace(counted=0), 0)
    assert all(torch.equal(old, new) for old, new in zip(before, weights(step), strict=True))


def test_mixed_targets_are_not_smoothed_again(setting):
    step = Step(network(), replace(setting.budget, learning_rate=0.0), "cpu")
    one = batch()
    smoothed = F.one_hot(one.targets, 10) * 0.9 + 0.01
    torch.testing.assert_close(step(one._replace(targets=smoothed), 0), step(one, 1))


def test_the_average_of_weights_follows_its_formula(setting):
    budget = replace(setting.budget, ema=0.5, epochs=20)
    step = Step(network(), budget, "cpu")
    expected = weights(step)
    for number in range(6):
        step(batch(), number)
        past = max(0, number - 1)
        decay = min(0.5, 1 - (1 + past) ** (-2 / 3)) if past else 0.0  # warm-up of timm's ModelEmaV3
        expected = [decay * mean + (1 - decay) * new for mean, new in zip(expected, weights(step), strict=True)]
    for mean, parameter in zip(expected, step.scored.parameters(), strict=True):
        torch.testing.assert_close(parameter, mean)
    assert step.scored is not step.model


def test_a_training_too_short_for_an_average_goes_without_and_says_so(setting, caplog):
    with caplog.at_level(logging.INFO, "acmix_nas"):
        step = Step(network(), replace(setting.budget, ema=0.9), "cpu")
    assert step.scored is step.model
    assert "it needs 100 steps, there are 3" in caplog.text


def test_bf16_is_near_fp32_and_not_the_same(setting):
    exact = Step(network(), setting.budget, "cpu")(batch(), 0)
    rough = Step(network(), replace(setting.budget, precision="bf16"), "cpu")(batch(), 0)
    assert rough != exact
    torch.testing.assert_close(rough, exact, atol=0.05, rtol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
def test_a_compiled_network_steps_alike(setting):
    plain = Step(network(), setting.budget, "cpu")
    compiled = Step(network(), replace(setting.budget, compile=True), "cpu")
    torch.testing.assert_close(compiled(batch(), 0), plain(batch(), 0))
    assert compiled.state()[0].keys() == plain.state()[0].keys()


def test_fp16_needs_a_gpu(setting):
    with pytest.raises(RecipeError, match="fp16 needs a CUDA device"):
        Training(network(), setting.splits, replace(setting.budget, precision="fp16"))


def test_steps_end_the_last_epoch(setting):
    budget = replace(setting.budget, epochs=2, steps=4)
    training = Training(network(), setting.splits, budget)
    training.epoch()
    training.epoch()
    assert (training.done, training.progress.step, training.progress.steps) == (True, 4, 4)
    assert len(training.progress.losses) == 2


def test_deterministic_algorithms_are_left_behind(setting):
    seen = []
    training = Training(
        network(),
        setting.splits,
        replace(setting.budget, deterministic=True),
        on_step=lambda _: seen.append(torch.are_deterministic_algorithms_enabled()),
    )
    training.epoch()
    assert seen == [True] * 3
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_learns_in_every_precision(setting, precision, tmp_path):
    budget = replace(setting.budget, precision=precision, epochs=30, learning_rate=3e-3)
    training = Training(network(), setting.splits, budget, device="cuda")
    while not training.done:
        training.epoch()
    assert training.progress.losses[-1] < 0.7 * training.progress.losses[0]
    training.save(tmp_path / "file")
    other = Training(network(seed=1), setting.splits, budget, device="cuda")
    other.load(tmp_path / "file")
    assert other.score() == training.score()
