"""Training: it learns, repeats, and turns every failure into a record."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from study_pieces import SPACE, small_setting
from torch import nn

from acmix_nas.arch import Arch
from acmix_nas.models import build_model
from acmix_nas.record import TrialRecord
from acmix_nas.train import Budget, Training, run_trial
from acmix_nas.train.augment import draw_shifts, shift_and_flip
from acmix_nas.train.recipe import learning_rate, make_optimizer
from acmix_nas.train.training import DivergedError

PAPER = SPACE.build(SPACE.first["paper"])
SEEDS = {"init": 3, "order": 5}


@pytest.fixture(scope="module")
def setting():
    return small_setting()


def run(setting, arch=PAPER, seeds=SEEDS):
    return run_trial(arch, setting, number=0, label="paper", seeds=seeds)


def test_the_same_seeds_give_the_same_record(setting):
    one, other = run(setting), run(setting)
    for name in ("scores", "losses", "mixing", "norms"):
        assert getattr(one, name) == getattr(other, name)
    assert run(setting, seeds={"init": 4, "order": 5}).losses != one.losses
    assert run(setting, seeds={"init": 3, "order": 6}).losses != one.losses


@pytest.mark.nightly
def test_bf16_repeats_where_a_kernel_reaches_far_beyond_its_map():
    """Four groups of 144 maps, kernel 7, on 2 x 2: with AVX-512 torch's own gradient differs from call to call."""
    values = {"combine": "learned", "head_dim": 16, "conv_kernel": 7, "conv_impl": "learnable"}
    arch = SPACE.build(SPACE.sample(lambda choice: values[choice.name.rpartition(".")[2]]))
    setting = small_setting(images=32)
    budget = replace(setting.budget, batch_size=16, precision="bf16")
    setting = replace(setting, proxy=SPACE.proxies["cpu"], budget=budget)
    one, other = run(setting, arch=arch), run(setting, arch=arch)
    assert one.status == "complete"
    assert (one.losses, one.scores, one.mixing, one.norms) == (other.losses, other.scores, other.mixing, other.norms)
    assert one.skipped == 0


def test_a_record_says_how_it_was_made(setting):
    record = run(setting)
    assert record.status == "complete"
    assert len(record.scores) == len(record.losses) == len(record.mixing) == len(record.norms) == setting.budget.epochs
    assert record.budget == setting.budget.to_dict()
    assert record.cost.params == 28_649_908
    assert record.data["fingerprint"] == setting.splits.fingerprint
    assert TrialRecord.from_json(record.to_json()) == record


def test_training_leaves_the_random_state_of_the_process_alone(setting):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    run(setting)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_it_learns_and_an_untrained_network_does_not():
    trained = run(small_setting(images=600, epochs=3))
    assert trained.score > 0.5
    idle = small_setting(images=160)
    untrained = run(replace(idle, budget=replace(idle.budget, learning_rate=0.0)))
    assert untrained.score < 0.25


def test_a_diverging_loss_is_a_failed_record(setting):
    broken = run(replace(setting, budget=replace(setting.budget, learning_rate=float("inf"))))
    assert broken.status == "failed"
    assert "the loss is" in broken.error
    assert broken.score is None


def test_running_out_of_memory_is_a_failed_record(setting, monkeypatch):
    def exhausted(*_args, **_options):
        raise torch.OutOfMemoryError("tried to allocate 80 GiB")

    monkeypatch.setattr("acmix_nas.train.trial.build_model", exhausted)
    record = run(setting)
    assert (record.status, record.error) == ("failed", "out of memory: tried to allocate 80 GiB")


def test_a_network_that_cannot_be_built_is_a_failed_record(setting):
    stages = [[mixer.having(num_heads=5) for mixer in stage] for stage in PAPER.stages]
    record = run(setting, arch=Arch(host="swin", stages=stages, conv_on="rolled"))
    assert record.status == "failed"
    assert "num_heads" in record.error


def test_an_interrupt_passes_through(setting):
    def interrupt(_progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(PAPER, setting, number=0, label="", seeds=SEEDS, on_step=interrupt)


def test_what_was_reached_before_an_error_is_kept(setting):
    longer = replace(setting, budget=replace(setting.budget, epochs=2))

    def fail(progress):
        if progress.step > longer.budget.steps_per_epoch:
            raise RuntimeError("user code")

    record = run_trial(PAPER, longer, number=0, label="", seeds=SEEDS, on_step=fail)
    assert (record.status, record.error, len(record.scores)) == ("failed", "RuntimeError: user code", 1)


def test_skipped_steps_are_counted_in_the_record(setting):
    def skip(progress):
        progress.skipped = progress.step

    record = run_trial(PAPER, setting, number=0, label="", seeds=SEEDS, on_step=skip)
    assert record.skipped == setting.budget.total_steps
    assert run(setting).skipped == 0


def test_weights_of_the_paths_norms_and_biases_have_no_weight_decay():
    model = build_model(PAPER, num_classes=10, in_chans=1, img_size=28, patch_size=4, width=0.25)
    decayed, free = make_optimizer(model, small_setting().budget).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert decayed["weight_decay"] > 0 == free["weight_decay"]
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    without = {names[id(parameter)].rpartition(".")[2] for parameter in free["params"]}
    assert without == {"alpha", "beta", "bias", "weight", "relative_position_bias_table"}
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_the_learning_rate_rises_then_falls_to_zero():
    budget = Budget(epochs=4, images=100, batch_size=10, learning_rate=1.0, warmup=0.25)
    rates = [learning_rate(budget, step) for step in range(41)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert rates[40] == pytest.approx(0.0, abs=1e-9)


@given(
    st.integers(1, 5), st.integers(1, 3), st.integers(3, 9), st.integers(3, 9), st.integers(0, 3), st.integers(0, 99)
)
def test_augmentation_moves_and_mirrors_whole_images(count, channels, height, width, largest, seed):
    images = torch.arange(1, count * channels * height * width + 1).reshape(count, channels, height, width)
    shifts = draw_shifts(count, (largest, largest), torch.Generator().manual_seed(seed))
    moved = shift_and_flip(images, shifts, (largest, largest))
    assert moved.shape == images.shape
    for image, result in zip(images, moved, strict=True):
        padded = nn.functional.pad(image, [largest] * 4)
        places = [
            padded[:, top : top + height, left : left + width]
            for top in range(2 * largest + 1)
            for left in range(2 * largest + 1)
        ]
        assert any(torch.equal(result, place) or torch.equal(result, place.flip(-1)) for place in places)


def test_a_nan_loss_stops_training():
    class Broken(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1)) * float("nan")

    setting = small_setting()
    with pytest.raises(DivergedError, match="step 0 of 5"):
        Training(Broken(784, 10), setting.splits, setting.budget).epoch()
