"""One step: in parts as in one, averaged as the formula says, in the precision that was asked for."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from study_pieces import small_setting
from torch import nn
from torch.nn import functional as F

from acmix_nas.data import Images
from acmix_nas.tasks.classification import TASK
from acmix_nas.train import RecipeError, Training
from acmix_nas.train.loader import Batch
from acmix_nas.train.step import TrainStep
from acmix_nas.train.training import DivergedError


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
    whole = TrainStep(network(), setting.budget, "cpu", TASK)
    split = TrainStep(network(), replace(setting.budget, accumulate=parts), "cpu", TASK)
    torch.testing.assert_close(split(batch(), 0), whole(batch(), 0))
    # AdamW's first step is the sign of the gradient: the gradients themselves are compared.
    for one, other in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_the_first_sgd_step_is_down_the_clipped_gradient(setting):
    budget = replace(setting.budget, optimizer="sgd", learning_rate=0.1, warmup=0.0, clip_norm=0.01, weight_decay=0.0)
    step = TrainStep(network(), budget, "cpu", TASK)
    before = weights(step)
    expected = network()
    loss = F.cross_entropy(expected(batch().images), batch().targets, label_smoothing=budget.label_smoothing)
    loss.backward()
    norm = math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in expected.parameters()))
    torch.testing.assert_close(step(batch(), 0), loss.detach())
    for old, new, parameter in zip(before, weights(step), expected.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * 0.01 / norm * parameter.grad, atol=1e-7, rtol=1e-4)


def test_without_a_limit_gradients_are_not_clipped(setting):
    step = TrainStep(network(), replace(setting.budget, clip_norm=None), "cpu", TASK)
    images = batch()._replace(images=batch().images * 1000)
    step(images, 0)
    assert sum(float(parameter.grad.square().sum()) for parameter in step.model.parameters()) > 5.0**2


def test_images_that_do_not_count_change_no_weight(setting):
    budget = replace(setting.budget, weight_decay=0.0)
    step = TrainStep(network(), budget, "cpu", TASK)
    before = weights(step)
    step(batch(1)._replace(counted=0), 0)
    assert all(torch.equal(old, new) for old, new in zip(before, weights(step), strict=True))


def test_mixed_targets_are_not_smoothed_again(setting):
    step = TrainStep(network(), replace(setting.budget, learning_rate=0.0), "cpu", TASK)
    one = batch()
    smoothed = F.one_hot(one.targets, 10) * 0.9 + 0.01
    torch.testing.assert_close(step(one._replace(targets=smoothed), 0), step(one, 1))


def test_the_average_of_weights_follows_its_formula(setting):
    budget = replace(setting.budget, ema=0.5, epochs=20)
    step = TrainStep(network(), budget, "cpu", TASK)
    expected = weights(step)
    for number in range(6):
        step(batch(), number)
        past = max(0, number - 1)
        decay = min(0.5, 1 - (1 + past) ** (-2 / 3)) if past else 0.0  # warm-up of timm's ModelEmaV3
        expected = [decay * mean + (1 - decay) * new for mean, new in zip(expected, weights(step), strict=True)]
    for mean, parameter in zip(expected, step.scored.parameters(), strict=True):
        torch.testing.assert_close(parameter, mean)
    assert step.scored is not step.model


def test_a_short_training_has_no_weight_average(setting, caplog):
    with caplog.at_level(logging.INFO, "acmix_nas"):
        step = TrainStep(network(), replace(setting.budget, ema=0.9), "cpu", TASK)
    assert step.scored is step.model
    assert "it needs 100 steps, there are 3" in caplog.text


def test_bf16_is_near_fp32_and_not_the_same(setting):
    exact = TrainStep(network(), setting.budget, "cpu", TASK)(batch(), 0)
    rough = TrainStep(network(), replace(setting.budget, precision="bf16"), "cpu", TASK)(batch(), 0)
    assert rough != exact
    torch.testing.assert_close(rough, exact, atol=0.05, rtol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
@pytest.mark.nightly
def test_a_compiled_network_steps_alike(setting):
    plain = TrainStep(network(), setting.budget, "cpu", TASK)
    compiled = TrainStep(network(), replace(setting.budget, compile=True), "cpu", TASK)
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


class Bent(nn.Module):
    """A network whose gradient is what it is told, whatever the loss."""

    def __init__(self, factors):
        super().__init__()
        self.net = network()
        self.factors = iter(factors)

    def forward(self, x):
        logits = self.net(x)
        if self.training:
            factor = next(self.factors)
            logits.register_hook(lambda grad: grad * factor)
        return logits


@pytest.mark.parametrize("factor", [math.inf, math.nan, 1e30])
@pytest.mark.parametrize("clip_norm", [5.0, None])
def test_a_non_finite_gradient_changes_nothing_and_is_counted(setting, factor, clip_norm):
    """1e30: the numbers are finite, their squares are not, and clipping would make the step nothing in silence."""
    budget = replace(setting.budget, clip_norm=clip_norm, ema=0.5, epochs=20)
    step = TrainStep(Bent([factor, 1.0]), budget, "cpu", TASK)
    before, average = weights(step), [p.detach().clone() for p in step.scored.parameters()]
    assert torch.isfinite(step(batch(), 0))
    assert not math.isfinite(step.skipped)
    assert all(torch.equal(old, new) for old, new in zip(before, weights(step), strict=True))
    assert all(torch.equal(old, new) for old, new in zip(average, step.scored.parameters(), strict=True))
    assert not step.optimizer.state
    step(batch(), 1)
    assert step.skipped is None
    assert not any(torch.equal(old, new) for old, new in zip(before, weights(step), strict=True))


@pytest.mark.parametrize(("scale", "counts"), [(2.0**16, False), (1.0, True)])
def test_a_scaler_that_looks_for_its_scale_skips_by_design(setting, scale, counts):
    step = TrainStep(Bent([math.inf, 1.0]), setting.budget, "cpu", TASK)
    step._scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    before = weights(step)
    step(batch(), 0)
    assert (step.skipped is not None) == counts
    assert step._scaler.get_scale() == scale / 2
    assert all(torch.equal(old, new) for old, new in zip(before, weights(step), strict=True))
    step(batch(), 1)
    assert step.skipped is None
    assert not any(torch.equal(old, new) for old, new in zip(before, weights(step), strict=True))


def test_a_skipped_step_is_logged_and_counted_and_survives_a_resume(setting, caplog, tmp_path):
    budget = replace(setting.budget, epochs=2)
    training = Training(Bent([1.0, math.inf, 1.0] + [1.0] * 99), setting.splits, budget)
    training.epoch()
    assert training.progress.skipped == 1
    assert "step 2 of 6 is skipped: the norm of the gradient is nan" in caplog.text
    training.save(tmp_path / "file")
    other = Training(Bent([1.0] * 99), setting.splits, budget)
    other.load(tmp_path / "file")
    other.epoch()
    assert other.progress.skipped == 1


def test_too_many_skipped_steps_end_the_training(setting):
    training = Training(Bent([1.0] + [math.nan] * 99), setting.splits, replace(setting.budget, epochs=50))
    training.epoch()
    assert training.progress.skipped == 2
    with pytest.raises(DivergedError, match="norm of the gradient is nan at step 5 of 150, and 4 steps were skipped"):
        training.epoch()


class Tiny(nn.Module):
    """A batch norm on a map of one pixel, as deep networks on small images have it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 28), nn.BatchNorm2d(4), nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).flatten(1))


def tiny_training(setting, images, batch_size, accumulate):
    part = Images(images=setting.splits.train.images[:images], targets=setting.splits.train.targets[:images])
    budget = replace(setting.budget, images=images, batch_size=batch_size, accumulate=accumulate)
    return Training(Tiny(), replace(setting.splits, train=part), budget)


@pytest.mark.parametrize(("images", "batch_size", "accumulate"), [(33, 32, 1), (33, 32, 4), (9, 8, 4), (11, 8, 4)])
def test_no_batch_norm_is_left_with_a_single_image(setting, images, batch_size, accumulate):
    training = tiny_training(setting, images, batch_size, accumulate)
    training.epoch()
    assert training.progress.step == 2


@pytest.mark.parametrize(("images", "batch_size", "accumulate"), [(8, 1, 1), (3, 2, 1), (8, 4, 4), (1, 1, 1)])
def test_a_batch_of_one_image_that_was_asked_for_is_a_clear_error(setting, images, batch_size, accumulate):
    with pytest.raises(RecipeError, match="a batch norm needs more than one value a channel"):
        tiny_training(setting, images, batch_size, accumulate).epoch()


def test_an_image_that_accompanies_another_changes_no_gradient(setting):
    """As a process that has one image of a step takes a second one for its norms."""
    alone, together = (
        TrainStep(network(), setting.budget, "cpu", TASK),
        TrainStep(network(), setting.budget, "cpu", TASK),
    )
    expected = alone(batch(1), 0)
    both = batch(2)
    torch.testing.assert_close(together(both._replace(counted=1, whole=1), 0), expected)
    for one, other in zip(alone.model.parameters(), together.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
