"""Stopping: a training that goes on from its file is the one that never stopped, to the bit."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from study_pieces import SPACE, small_setting
from torch import nn

from acmix_nas.models import build_model
from acmix_nas.train import ResumeError, Training, run_trial
from acmix_nas.train.checkpoint import read_checkpoint, write_checkpoint
from acmix_nas.train.training import run_epochs

PAPER = SPACE.build(SPACE.first["paper"])
SEEDS = {"init": 3, "order": 5}


@pytest.fixture(scope="module")
def setting():
    setting = small_setting(images=96)
    return replace(setting, budget=replace(setting.budget, epochs=3))


class Dropping(nn.Module):
    """A small network with what a checkpoint has to know: buffers, kernels, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(4 * 7 * 7, 10)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


def new(setting, seed=0, **options):
    torch.manual_seed(seed)
    return Training(Dropping(), setting.splits, setting.budget, **options)


def state(training):
    return training._step.state()[0]


def test_resuming_after_every_epoch_is_never_having_stopped(setting, tmp_path):
    whole = new(setting)
    while not whole.done:
        whole.epoch()
    file = tmp_path / "last.safetensors"
    first = new(setting)
    first.epoch()
    first.save(file)
    for _ in range(2):
        torch.rand(3)  # other use of the random state between
        other = new(setting, seed=9)
        other.load(file)
        other.epoch()
        other.save(file)
    assert other.done
    assert other.progress.scores == whole.progress.scores
    assert other.progress.losses == whole.progress.losses
    assert other.progress.step == whole.progress.step == whole.progress.steps
    expected = state(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state(other).items())


EVERYTHING = {
    "crop": (0.3, 1.0),
    "jitter": 0.3,
    "rand_augment": "rand-m9-mstd0.5-inc1",
    "erase": 0.5,
    "mixup": 0.8,
    "cutmix": 1.0,
    "ema": 0.2,
    "drop_path": 0.3,
    "accumulate": 2,
}


@pytest.mark.parametrize(
    "change",
    [
        EVERYTHING,
        {"optimizer": "sgd", "deterministic": True},
        pytest.param({"precision": "bf16"}, marks=pytest.mark.nightly),  # most processors emulate it
    ],
)
def test_resuming_is_the_same_whatever_the_recipe_asks(setting, tmp_path, change):
    setting = replace(setting, budget=replace(setting.budget, epochs=2, **change))
    file = tmp_path / "trial.safetensors"
    whole = run_trial(PAPER, setting, number=0, label="", seeds=SEEDS)
    run_trial(PAPER, setting, number=0, label="", seeds=SEEDS, checkpoint=file, until=1)
    resumed = run_trial(PAPER, setting, number=0, label="", seeds=SEEDS, checkpoint=file)
    assert whole.error is None
    for name in ("scores", "losses", "mixing", "norms"):
        assert getattr(resumed, name) == getattr(whole, name)


def test_a_loaded_optimizer_keeps_the_strides_of_its_parameters(setting, tmp_path):
    one = new(setting)
    one.epoch()
    one.save(tmp_path / "file")
    two = new(setting)
    two.load(tmp_path / "file")
    for parameter, own in two._step.optimizer.state.items():
        assert own["exp_avg"].stride() == parameter.stride()


def test_a_trial_in_rungs_is_the_trial_in_one(setting, tmp_path):
    whole = run_trial(PAPER, setting, number=0, label="", seeds=SEEDS)
    file = tmp_path / "trial.safetensors"
    rungs, kept = [], [0.0]
    for until in (1, 2, None):
        rungs.append(run_trial(PAPER, setting, number=0, label="", seeds=SEEDS, checkpoint=file, until=until))
        assert rungs[-1].seconds > kept[-1]
        kept.append(sum(read_checkpoint(file)[1]["progress"]["seconds"]))
    assert [record.status for record in rungs] == ["paused", "paused", "complete"]
    assert [record.score for record in rungs] == [None, None, whole.score]
    assert [len(record.scores) for record in rungs] == [1, 2, 3]
    assert rungs[0].scores == whole.scores[:1]
    for name in ("scores", "losses", "mixing", "norms"):
        assert getattr(rungs[2], name) == getattr(whole, name)
    assert rungs[0].started == rungs[2].started
    assert sorted({*kept}) == kept
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_file_of_before_there_were_norms_is_gone_on_from(setting, tmp_path):
    file = tmp_path / "trial.safetensors"
    run_trial(PAPER, setting, number=0, label="", seeds=SEEDS, checkpoint=file, until=2)
    tensors, facts = read_checkpoint(file)
    del facts["progress"]["norms"]
    write_checkpoint(file, tensors, facts)
    record = run_trial(PAPER, setting, number=0, label="", seeds=SEEDS, checkpoint=file)
    assert (record.status, len(record.scores), len(record.norms)) == ("complete", 3, 1)


def test_a_trial_at_its_rung_trains_nothing(setting, tmp_path):
    file = tmp_path / "trial.safetensors"
    options = {"number": 0, "label": "", "seeds": SEEDS, "checkpoint": file, "until": 1}
    first = run_trial(PAPER, setting, **options)
    steps = []
    again = run_trial(PAPER, setting, **options, on_step=steps.append)
    assert (again.status, again.scores, steps) == ("paused", first.scores, [])


def test_an_interrupt_in_an_epoch_keeps_the_one_before(setting, tmp_path):
    file = tmp_path / "trial.safetensors"
    options = {"number": 0, "label": "", "seeds": SEEDS, "checkpoint": file}

    def interrupt(progress):
        if progress.step == setting.budget.steps_per_epoch + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(PAPER, setting, **options, on_step=interrupt)
    resumed = run_trial(PAPER, setting, **options)
    assert resumed.losses == run_trial(PAPER, setting, number=0, label="", seeds=SEEDS).losses


def test_train_goes_on_from_its_checkpoint(setting, tmp_path):
    file = tmp_path / "file"
    torch.manual_seed(0)
    done = Training(Dropping(), setting.splits, setting.budget)
    run_epochs(done, checkpoint=file)
    steps = []
    again = Training(Dropping(), setting.splits, setting.budget, on_step=steps.append)
    run_epochs(again, checkpoint=file)
    assert (again.progress.scores, steps) == (done.progress.scores, [])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seeds": {"init": 4, "order": 5}}, "seeds.init 3, not 4"),
        ({"seeds": {"init": 3, "order": 6}}, "seeds.order 5, not 6"),
        ({"arch": SPACE.build(SPACE.first["plain host"])}, "arch "),
        ({"learning_rate": 1.0}, "budget.learning_rate 0.002, not 1.0"),
    ],
)
def test_the_checkpoint_of_another_training_is_one_error(setting, tmp_path, changed, said):
    file = tmp_path / "trial.safetensors"
    run_trial(PAPER, setting, number=0, label="", seeds=SEEDS, checkpoint=file, until=1)
    rate = changed.get("learning_rate", setting.budget.learning_rate)
    other = replace(setting, budget=replace(setting.budget, learning_rate=rate))
    with pytest.raises(ResumeError, match="another training") as caught:
        run_trial(
            changed.get("arch", PAPER),
            other,
            number=0,
            label="",
            seeds=changed.get("seeds", SEEDS),
            checkpoint=file,
        )
    assert said in str(caught.value)


def test_files_that_are_no_checkpoint_are_refused(setting, tmp_path):
    broken, weights = tmp_path / "broken", tmp_path / "weights.safetensors"
    broken.write_bytes(b"\x80\x04\x95")
    save_file({"a": torch.zeros(1)}, weights)
    for file in (broken, weights, tmp_path / "nowhere"):
        with pytest.raises(ResumeError, match="not read as the checkpoint"):
            new(setting).load(file)


def test_weights_of_another_network_are_refused(setting, tmp_path):
    new(setting).save(tmp_path / "file")
    model = build_model(PAPER, num_classes=10, in_chans=1, img_size=28, patch_size=4, width=0.25)
    with pytest.raises(ResumeError, match="another network"):
        Training(model, setting.splits, setting.budget).load(tmp_path / "file")
