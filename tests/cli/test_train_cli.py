"""`acmix train`: what it leaves, what it goes on from, what it refuses."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import warm_commands
import yaml
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from acmix_nas.cli import acmix
from acmix_nas.cli._display import TrainingDisplay
from acmix_nas.errors import AcmixError
from acmix_nas.experiments.networks import find_arch
from acmix_nas.models import build_model, named_arch
from acmix_nas.reference import load_weights
from acmix_nas.train.checkpoint import trained_weights

PVT = "acmix_pvt_tiny"
RECIPE = """
epochs: 2
warmup_epochs: 1
batch_size: 16
optimizer: sgd
learning_rate: 0.05
crop: [0.3, 1.0]
jitter: 0.2
drop_path: 0.0
input_size: 32
precision: fp32
"""
"""Without what processes draw apart: a training in several is that in one."""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working directory with images and a recipe."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of the training that the recipe asks for, its name "whole", its images beside."""
    folder = tmp_path_factory.mktemp("trained")
    prepare(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        train("--study", "whole")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def whole(here, trained) -> Path:
    """That training in the working directory."""
    return Path(shutil.copytree(trained / "reports" / "whole", here / "reports" / "whole"))


def prepare(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 18), ("val", 4)):
        for name, base in (("dark", 0), ("light", 120)):
            images = folder / "images" / split / name
            images.mkdir(parents=True)
            for index in range(count):
                pixels = torch.randint(base, base + 136, (36, 40, 3), dtype=torch.uint8, generator=generator)
                Image.fromarray(pixels.numpy()).save(images / f"{index}.png")
    (folder / "mine.yaml").write_text(RECIPE)


def run(*words):
    result = CliRunner().invoke(acmix, ["train", *words], standalone_mode=False)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def train(*words):
    return run(PVT, "--data", "images", "--recipe", "mine.yaml", "--device", "cpu", *words)


def rows(folder):
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_training_leaves_weights_a_log_and_what_was_asked(here):
    done = train("--json")
    folder = here / "reports" / f"{PVT}-001"
    told = json.loads(done.stdout)
    assert done.return_value == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "log.csv",
        "log.txt",
        "train.yaml",
    ]
    log = rows(folder)
    assert list(log[0]) == ["epoch", "lr", "loss", "top1", "seconds"]
    assert [row["epoch"] for row in log] == ["1", "2"]
    assert [float(row["top1"]) for row in log] == told["scores"]
    # One of the training images is held out by the source; 35 are left, in 3 steps an epoch.
    assert float(log[0]["lr"]) == pytest.approx(0.05)
    facts = yaml.safe_load((folder / "train.yaml").read_text())
    assert facts["budget"]["images"] == 35
    assert facts["data"]["counts"]["report"] == 8
    assert find_arch(str(folder / "train.yaml"), here).arch == named_arch(PVT)
    assert told["best_top1"] == max(told["scores"])
    model = build_model(named_arch(PVT), num_classes=2, img_size=32)
    load_weights(model, folder / "best.safetensors")
    last = trained_weights(folder / "last.safetensors")
    assert last.keys() == model.state_dict().keys()

    for name, score in (("best", told["best_top1"]), ("last", told["top1"])):
        scored = train("--eval", str(folder / f"{name}.safetensors"), "--json")
        assert json.loads(scored.stdout)["top1"] == score
    assert len(list((here / "reports").iterdir())) == 1


def test_weights_that_hold_nan_are_not_scored(here):
    model = build_model(named_arch(PVT), num_classes=2, img_size=32)
    weights = model.state_dict()
    first = next(name for name, value in model.named_parameters())
    weights[first] = torch.full_like(weights[first], float("nan"))
    save_file({name: value.contiguous() for name, value in weights.items()}, "spoilt.safetensors")
    with pytest.raises(AcmixError, match=f"contain NaN or infinity, the first is {first}"):
        train("--eval", "spoilt.safetensors", "--json")


@pytest.mark.slow
def test_what_is_interrupted_goes_on_as_if_it_had_not_been(here, whole, monkeypatch):
    def interrupt(display, progress):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingDisplay, "epoch", interrupt)
        cut = train("--study", "cut")
    assert cut.return_value == 130
    assert "Continue with:\n  acmix train acmix_pvt_tiny --study cut --resume" in cut.stderr
    assert len(rows(here / "reports" / "cut")) == 1
    # What was asked is remembered.
    resumed = run(PVT, "--study", "cut", "--resume", "--device", "cpu")
    assert resumed.return_value == 0
    assert "going on after epoch 1" in resumed.stderr
    one, other = (rows(here / "reports" / name) for name in ("whole", "cut"))
    assert [(row["loss"], row["top1"]) for row in one] == [(row["loss"], row["top1"]) for row in other]
    last, again = (trained_weights(here / "reports" / name / "last.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(last[name], again[name]) for name in last)
    assert train("--study", "whole", "--resume", "--seed", "0").return_value == 0  # there is nothing left to do
    with pytest.raises(AcmixError, match=r"budget\.learning_rate 0\.05, not 0\.1"):
        train("--study", "whole", "--resume", "--lr", "0.1")


@pytest.mark.slow
@pytest.mark.parametrize("resume", [pytest.param((), marks=pytest.mark.nightly), ("--resume",)])
def test_what_is_stopped_in_its_first_epoch_begins_again(here, whole, monkeypatch, resume):
    def interrupt(display, progress):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingDisplay, "step", interrupt)
        cut = train("--study", "cut")
    assert cut.return_value == 130
    assert not (here / "reports" / "cut" / "last.safetensors").exists()
    again = run(PVT, "--study", "cut", "--device", "cpu", *resume) if resume else train("--study", "cut")
    assert again.return_value == 0
    one, other = (rows(here / "reports" / name) for name in ("whole", "cut"))
    assert [(row["loss"], row["top1"]) for row in one] == [(row["loss"], row["top1"]) for row in other]


@pytest.mark.slow
def test_a_log_that_a_kill_kept_back_is_written(here, whole):
    log = here / "reports" / "whole" / "log.csv"
    text = log.read_text()
    log.unlink()
    assert train("--study", "whole", "--resume").return_value == 0
    assert log.read_text() == text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["acmix_resnet27"], 2, "did you mean acmix_resnet26"),
        ([PVT, "--recipe", "nothing"], 2, "there are pvt, resnet, san, semantic_fpn, swin, upernet"),
        ([PVT, "--recipe", "mine.yaml", "--precision", "fp16", "--images", "10"], 2, "fp16 needs a CUDA device"),
        (["resnet18"], 2, "resnet18 has no recipe of its own"),
        ([PVT, "--data", "nowhere"], 1, "nowhere"),
        ([PVT, "--resume"], 1, "no study acmix_pvt_tiny-NNN"),
        ([PVT, "--resume", "--study", "no"], 1, "no training to resume"),
        ([PVT, "--study", "../up"], 1, "name"),
        ([PVT, "--images", "99999"], 1, "99999"),
        ([PVT, "--eval", "mine.yaml"], 1, "cannot be read as a checkpoint"),
    ],
)
def test_a_mistake_is_one_clear_message_and_leaves_nothing(here, words, code, said):
    with pytest.raises(AcmixError) as caught:
        run(*words, "--device", "cpu")
    assert said in str(caught.value)
    assert caught.value.exit_code == code
    assert not (here / "reports").exists()


def test_a_training_that_is_there_is_not_overwritten(here):
    folder = here / "reports" / "taken"
    folder.mkdir(parents=True)
    (folder / "train.yaml").write_text("network: another\nasked: {}\n")
    with pytest.raises(AcmixError, match="add --resume"):
        train("--study", "taken")
    (folder / "last.safetensors").write_bytes(b"")
    with pytest.raises(AcmixError, match="is of another"):
        train("--study", "taken", "--resume")


def test_a_model_of_timms_own_is_trained_with_a_recipe(here):
    done = run("resnet10t", "--data", "images", "--recipe", "mine.yaml", "--epochs", "1", "--json", "--device", "cpu")
    told = json.loads(done.stdout)
    assert (told["network"], told["arch_id"], told["epochs"]) == ("resnet10t", None, 1)


@pytest.mark.slow
@pytest.mark.nightly  # README's first command says so too
def test_the_embedded_images_are_named_as_such(here):
    done = run("acmix_resnet26", "--images", "10", "--epochs", "1", "--device", "cpu")
    assert "not ImageNet" in done.stderr
    assert "top-1" in done.stdout


@pytest.mark.nightly
def test_two_processes_train_what_one_does(here):
    # 33 images in steps of 16: the last step has two, one for each process.
    words = ["train", PVT, "--data", "images", "--recipe", "mine.yaml", "--images", "33", "--epochs", "1"]
    words += ["--device", "cpu"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train("--images", "33", "--epochs", "1", "--study", "one")
    done = subprocess.run(
        [*torchrun, "-m", "acmix_nas", *words, "--study", "two"], cwd=here, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("top-1") == 1
    assert "in 2 processes" in done.stderr
    one, two = (rows(here / "reports" / name) for name in ("one", "two"))
    assert [row["top1"] for row in one] == [row["top1"] for row in two]
    assert [float(row["loss"]) for row in two] == pytest.approx([float(row["loss"]) for row in one], abs=2e-5)
    last, other = (trained_weights(here / "reports" / name / "last.safetensors") for name in ("one", "two"))
    for name, tensor in last.items():
        torch.testing.assert_close(other[name], tensor, atol=2e-5, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_batch_norms_on_one_pixel_maps_are_trained_with_any_last_batch(here, processes):
    words = ["train", "resnet10t", "--data", "images", "--recipe", "mine.yaml", "--images", "33", "--epochs", "1"]
    words += ["--device", "cpu", "--input-size", "32"]
    with socket.create_server(("127.0.0.1", 0)) as found:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(found.getsockname()[1])}
    running = []
    for rank in range(processes):  # as torchrun starts them, which another test does
        who = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
        env = {**meeting, **{name: str(value) for name, value in who.items()}} if processes > 1 else {}
        files = {"out": here / f"{rank}.out", "err": here / f"{rank}.err"}
        running.append(warm_commands.start(*words, **files, cwd=here, env=env))
    for rank, process in enumerate(running):
        process.join()
        assert process.exitcode == 0, (here / f"{rank}.err").read_text()
    assert [(here / f"{rank}.out").read_text().count("top-1") for rank in range(processes)] == [1, 0][:processes]
